# shellcheck shell=bash
# Crowds: lab-clients as a partner of a script, which does one round at its start and another each time it
# is asked. Several crowds may be there at once, each with a name. Source lib.sh before.

declare -A crowd_pids crowd_inputs crowd_outputs

# crowd_start NAME [lab-clients option…]: starts a crowd in the client's namespace; its first round runs.
crowd_start()
{
	local name=$1 pipes in out
	shift
	pipes=$(mktemp -d)
	mkfifo "$pipes/in" "$pipes/out"
	in_node client "$LAB_BUILD/lab/lab-clients" "$@" <"$pipes/in" >"$pipes/out" &
	crowd_pids[$name]=$!
	exec {in}>"$pipes/in" {out}<"$pipes/out"
	crowd_inputs[$name]=$in
	crowd_outputs[$name]=$out
	rm -r "$pipes"
}

# crowd_round NAME: waits for the end of the round and leaves its figures in `crowd` (JSON).
crowd_round()
{
	IFS= read -r crowd <&"${crowd_outputs[$1]}"
}

# crowd_again NAME: sends all clients back once more.
crowd_again()
{
	echo again >&"${crowd_inputs[$1]}"
}

# crowd_figure FIGURE: one of the figures of the last round that was waited for.
crowd_figure()
{
	jq -r --arg name "$1" '.[$name]' <<<"$crowd"
}

# crowd_end NAME: no more rounds.
crowd_end()
{
	local in=${crowd_inputs[$1]} out=${crowd_outputs[$1]}
	# Not by closing its input alone: what was started later has inherited that descriptor.
	echo end >&"$in"
	exec {in}>&- {out}<&-
	wait "${crowd_pids[$1]}"
}
