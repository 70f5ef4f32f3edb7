# shellcheck shell=bash
# lab-clients as a partner of a script: a crowd that does one round, and another each time it is asked.
# Source lib.sh before.

# crowd_start [lab-clients option…]: starts a crowd in the client's namespace; its first round runs.
crowd_start()
{
	coproc CROWD { in_node client "$LAB_BUILD/lab/lab-clients" "$@"; }
	# The crowd's own descriptors vanish from bash's array when it ends; these stay.
	# shellcheck disable=SC2153 # bash sets it
	crowd_pid=$CROWD_PID
	exec {crowd_out}<&"${CROWD[0]}" {crowd_in}>&"${CROWD[1]}"
}

# crowd_round: waits for the end of the round and leaves its figures in `crowd` (JSON).
crowd_round()
{
	IFS= read -r crowd <&"$crowd_out"
}

# crowd_again: sends all clients back once more.
crowd_again()
{
	echo again >&"$crowd_in"
}

# crowd_figure NAME: one of the last round's figures.
crowd_figure()
{
	jq -r --arg name "$1" '.[$name]' <<<"$crowd"
}

# crowd_end: no more rounds.
crowd_end()
{
	eval "exec ${CROWD[1]}>&-" 2>/dev/null || true
	exec {crowd_in}>&- {crowd_out}<&-
	wait "$crowd_pid"
}
