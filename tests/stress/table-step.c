/*
 * The writer dies at every single instruction.
 *
 * A child performs one operation on a table; this process steps it through, instruction by instruction, and
 * whenever the file has changed takes a copy of it. Each copy is what a writer killed there would have left.
 * The next writer must take it over (never rebuild it), find every session that the operation was not about, find
 * the one that it was about whole or not at all, leave nothing of what is gone, and be able to go on.
 */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "table/internal.h"
#include "table/test-util.h"

#define SKIP 77
#define DER_BYTES 130
#define N_OLD 9000      /* sessions put before, from number 0: more than fit */
#define N_NUMBERS 20000 /* more than any scenario puts before */
#define NEW 100000      /* the number of the one that operations are about */

struct scenario {
	const char *name;
	void (*prepare)(struct table *table);
	void (*operate)(struct table *table); /* in the child */
	unsigned stride;                      /* look at the file each so many instructions */
};

static void put(struct table *table, uint64_t number, uint64_t generation, size_t n_der,
                int64_t expires_s, int64_t now_s, unsigned flags)
{
	static struct session s;

	session_make(&s, number, generation, 32, n_der);
	must(session_put(table, &s, expires_s, now_s, flags, NULL) == 0);
}

/* Fills the table to where the next put of the usual size neither evicts nor wraps. */
static void prepare_some(struct table *table)
{
	for (uint64_t i = 0; i < 100; i++)
		put(table, i, 1, DER_BYTES, NOW + 100, NOW, 0);
}

/* Fills it until the next put must evict, and needs a pad before it. */
static void prepare_full(struct table *table)
{
	uint64_t i = 0;

	for (; i < N_OLD - 10; i++)
		put(table, i, 1, DER_BYTES, NOW + 100, NOW, 0);
	for (; table->layout.log_bytes - table_head(table) % table->layout.log_bytes > 192 ||
	       table_head(table) % table->layout.log_bytes == 0;
	     i++)
		put(table, i, 1, 100, NOW + 100, NOW, 0);
}

static void prepare_new(struct table *table)
{
	prepare_some(table);
	put(table, NEW, 1, DER_BYTES, NOW + 50, NOW, 0);
	put(table, 100, 1, DER_BYTES, NOW + 100, NOW, 0);
}

static void prepare_new_at_tail(struct table *table)
{
	put(table, NEW, 1, DER_BYTES, NOW + 50, NOW, 0);
	prepare_some(table);
}

/* So many small records that a new one finds both its buckets full. */
static void prepare_crowd(struct table *table)
{
	struct layout_header *header = table->header;

	for (uint64_t i = 0; header->n_displaced < 4000; i++)
		put(table, i, 1, 1, NOW + 100, NOW, 0);
}

/* Positions are about to run out. */
static void prepare_end(struct table *table)
{
	word_store(&table->header->tail, LAYOUT_POSITION_END - UINT64_C(3) * RECORD_BYTES_MAX);
	word_store(&table->header->head, LAYOUT_POSITION_END - UINT64_C(3) * RECORD_BYTES_MAX);
	for (uint64_t i = 0;
	     table_head(table) <= LAYOUT_POSITION_END - UINT64_C(2) * RECORD_BYTES_MAX; i++)
		put(table, i, 1, DER_BYTES, NOW + 100, NOW, 0);
}

static void operate_put(struct table *table)
{
	put(table, NEW, 2, DER_BYTES, NOW + 100, NOW, 0);
}

static void operate_put_large(struct table *table)
{
	put(table, NEW, 2, 700, NOW + 100, NOW, 0);
}

static void operate_put_over_expired(struct table *table)
{
	put(table, NEW, 2, DER_BYTES, NOW + 100, NOW + 50, 0);
}

static void operate_remove(struct table *table)
{
	put(table, NEW, 2, 0, NOW + 100, NOW, TABLE_TOMBSTONE);
}

static void operate_expire(struct table *table)
{
	must(!table_expire(table, NOW + 50, 1000));
}

static void operate_displace(struct table *table)
{
	uint64_t n_displaced = table->header->n_displaced;

	for (uint64_t i = NEW; table->header->n_displaced == n_displaced; i++)
		put(table, i, 2, 1, NOW + 100, NOW, 0);
}

static const struct scenario scenarios[] = {
    {"put", prepare_some, operate_put, 1},
    {"put that evicts and wraps", prepare_full, operate_put_large, 1},
    {"put over an expired one", prepare_new, operate_put_over_expired, 1},
    {"removal", prepare_new, operate_remove, 1},
    {"removal before the session", prepare_some, operate_remove, 1},
    {"expiry at the tail", prepare_new_at_tail, operate_expire, 1},
    {"expiry by the sweep", prepare_new, operate_expire, 1},
    {"displacement", prepare_crowd, operate_displace, 7},
    {"restart of the positions", prepare_end, operate_put, 61},
};

/* The DER's first bytes tell the generation; all others must follow from it. */
static bool find(const struct table_view *view, uint64_t number, size_t *n_found)
{
	static struct session s;
	static uint8_t der[TABLE_DER_MAX];
	uint64_t generation = 0;
	size_t n_der;

	session_make(&s, number, 0, 32, 0);
	if (table_view_get(view, s.id, 32, NOW, der, sizeof(der), &n_der, NULL, NULL) != 0)
		return false;
	memcpy(&generation, der, MIN(n_der, sizeof(generation)));
	session_make(&s, number, generation, 32, n_der);
	must(memcmp(der, s.der, n_der) == 0);
	++*n_found;
	return true;
}

/* Everything outside [tail, head) is zero, and so is what the dead left inside. */
static void check_wiped(const struct table *table)
{
	uint64_t position = table_tail(table);
	const word_t *words;

	while (position != table_head(table)) {
		struct record_meta meta;
		bool live;

		must(log_record_check(table, position, &meta, &live));
		words = log_at(table, position);
		for (size_t i = RECORD_TIMES; !live && i < meta.bytes / 8; i++)
			must(word_load(&words[i]) == 0);
		position += meta.bytes;
	}
	for (; position < table_tail(table) + table->layout.log_bytes; position += LAYOUT_UNIT) {
		words = log_at(table, position);
		must(word_load(&words[0]) == 0 && word_load(&words[1]) == 0);
	}
}

/* What the next writer makes of a file; `before` are the sessions that were there before
 * the operation, when `n_lost` had been evicted or displaced. */
static void check_copy(const char *path, const bool *before, uint64_t n_lost)
{
	struct fixture f = {0};
	struct table_stats stats;
	size_t n_found = 0, n_gone = 0;
	char why[100] = "";
	int r;

	snprintf(f.path, sizeof(f.path), "%s", path);
	r = fixture_open(&f, TABLE_SIZE_MIN, NOW, why, sizeof(why));
	if (r == TABLE_REBUILT && strcmp(why, "its log is out of bounds") == 0) {
		/* Only between the last two stores of a restart, when all was dropped already. */
		must(before == NULL);
		fixture_close(&f);
		return;
	}
	must(r == 0);
	for (uint64_t i = 0; i < N_NUMBERS; i++)
		if (before ? before[i] : i < 200)
			n_gone += !find(f.view, i, &n_found);
	for (uint64_t i = NEW; i < NEW + 50; i++)
		find(f.view, i, &n_found);
	table_stats(f.table, &stats);
	must(stats.n_live == n_found);
	must(!before || n_gone <= stats.n_evicted + stats.n_displaced - n_lost);
	check_wiped(f.table);
	put(f.table, 2 * NEW, 1, DER_BYTES, NOW + 100, NOW, 0);
	must(find(f.view, 2 * NEW, &n_found));
	fixture_close(&f);
}

static pid_t start_child(const struct scenario *scenario, struct table *table)
{
	pid_t child = fork();

	must(child >= 0);
	if (child == 0) {
		must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(SKIP);
		raise(SIGSTOP);
		scenario->operate(table);
		_exit(0);
	}
	return child;
}

/* Returns how many states of the file were seen, or a negated errno when stepping is not allowed here. */
static int step_through(const struct scenario *scenario, const struct fixture *f,
                        const char *copy_path, const bool *before)
{
	uint64_t n_lost = f->table->header->n_evicted + f->table->header->n_displaced;
	_cleanup_(freep) uint8_t *last = malloc(TABLE_SIZE_MIN);
	const uint8_t *now = (const uint8_t *)f->table->header;
	pid_t child = start_child(scenario, f->table);
	int status, n_states = 0;

	memcpy(last, now, TABLE_SIZE_MIN);
	must(waitpid(child, &status, 0) == child);
	if (WIFEXITED(status))
		return -EPERM;
	for (unsigned n = 1; WIFSTOPPED(status); n++) {
		int fd;

		if (n % scenario->stride == 0 && memcmp(last, now, TABLE_SIZE_MIN) != 0) {
			memcpy(last, now, TABLE_SIZE_MIN);
			fd = open(copy_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
			must(fd >= 0 && pwrite(fd, last, TABLE_SIZE_MIN, 0) == TABLE_SIZE_MIN);
			close(fd);
			check_copy(copy_path, before, n_lost);
			n_states++;
		}
		must(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0);
		must(waitpid(child, &status, 0) == child);
	}
	must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return n_states;
}

static int run(const struct scenario *scenario)
{
	static bool before[N_NUMBERS];
	bool restarts = scenario->prepare == prepare_end;
	char copy_path[80];
	struct fixture f;
	size_t n = 0;
	int r;

	fixture_init(&f);
	snprintf(copy_path, sizeof(copy_path), "%s/copy", f.directory);
	must(fixture_open(&f, TABLE_SIZE_MIN, NOW, NULL, 0) == TABLE_CREATED);
	scenario->prepare(f.table);
	for (uint64_t i = 0; i < ARRAY_SIZE(before); i++)
		before[i] = find(f.view, i, &n);
	r = step_through(scenario, &f, copy_path, restarts ? NULL : before);
	unlink(copy_path);
	fixture_deinit(&f);
	if (r >= 0)
		printf("%s: %d states\n", scenario->name, r);
	return r;
}

int main(void)
{
	setlinebuf(stdout);
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
		int n_states = run(&scenarios[i]);

		if (n_states < 0)
			return SKIP;
		must(n_states >= 10);
	}
	return 0;
}
