# shellcheck shell=bash
# What many do today: both Apaches keep their sessions in one Redis, through mod_socache_redis. It listens on
# b's notification address, so that a reaches it over the notification network; nothing is written to disk.

REDIS_ADDRESS=10.78.0.2
REDIS_PORT=6379

redis_check()
{
	command -v redis-server >/dev/null || die "no redis-server here: run scripts/setup evaluate"
	[ -e "$APACHE_MODULES/mod_socache_redis.so" ] ||
		die "no mod_socache_redis.so in $APACHE_MODULES: this Apache cannot keep sessions in a Redis"
}

is_redis_answering()
{
	in_node a redis-cli -h "$REDIS_ADDRESS" -p "$REDIS_PORT" ping | grep -q PONG
}

redis_start()
{
	mkdir -p "$LAB_STATE/redis"
	# Not through in_node: of a function in the background, the shell would be the process.
	nsenter --net="/run/netns/$LAB_NAME-b" -- setsid redis-server --bind "$REDIS_ADDRESS" --port "$REDIS_PORT" --protected-mode no \
		--save "" --appendonly no --dir "$LAB_STATE/redis" \
		>"$LAB_STATE/b/redis.log" 2>&1 </dev/null &
	echo $! >"$LAB_STATE/redis/pid"
	wait_for "redis-server answers node a" is_redis_answering
}
