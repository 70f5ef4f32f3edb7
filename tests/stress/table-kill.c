/*
 * The writer is killed, again and again, and comes back to the same file, while readers in processes of their own
 * go on looking sessions up in the mapping that they made at the start.
 *
 * Readers must never be given a wrong record. Each new writer must take the file over (never rebuild it) and find
 * every session whose put had returned, unless it was evicted, removed or has expired since. What was put is told by
 * a journal in shared memory, written after each put; `pending` names the one that may or may not have happened.
 *
 * TABLE_STRESS multiplies the number of kills (default 1).
 */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "table/layout.h"
#include "table/test-util.h"

#define N_READERS 2
#define N_KILLS 60
#define N_NUMBERS 4000

struct entry {
	uint64_t generation; /* 0: not there */
	uint64_t end;
	int64_t expires_s;
	bool tombstone;
	bool unknown; /* a put of it may or may not have happened */
};

struct journal {
	struct entry entries[N_NUMBERS];
	_Atomic uint64_t pending; /* number + 1 of the put that is under way; 0: none */
	_Atomic uint64_t n_done;
	_Atomic int64_t now_s;
	_Atomic uint64_t n_hits;
	atomic_bool stop;
};

static struct journal *journal;
static struct fixture fixture;

static size_t der_bytes(uint64_t number, uint64_t generation)
{
	uint64_t dice = mix(number * 31 + generation);

	return dice % 50 == 0 ? 8 + dice / 50 % (TABLE_DER_MAX - 8) : 126 + dice / 50 % 6;
}

/* Looks a number up; a hit must be whole. Out: its generation. */
static bool look_up(const struct table_view *view, uint64_t number, int64_t now_s,
                    uint64_t *generation)
{
	static uint8_t der[TABLE_DER_MAX];
	static struct session s;
	size_t n_der;
	int r;

	session_make(&s, number, 0, 32, 0);
	r = table_view_get(view, s.id, s.n_id, now_s, der, sizeof(der), &n_der, NULL, NULL);
	if (r != 0) {
		must(r == TABLE_MISS);
		return false;
	}
	must(n_der >= sizeof(*generation));
	memcpy(generation, der, sizeof(*generation));
	must(n_der == der_bytes(number, *generation));
	session_make(&s, number, *generation, 32, n_der);
	must(memcmp(der, s.der, n_der) == 0);
	return true;
}

static void be_reader(uint64_t random)
{
	uint64_t generation;

	while (!atomic_load(&journal->stop))
		if (look_up(fixture.view, next_random(&random, N_NUMBERS),
		            atomic_load(&journal->now_s), &generation))
			atomic_fetch_add(&journal->n_hits, 1);
	_exit(0);
}

static void check_journal(void)
{
	uint64_t tail = table_tail(fixture.table), pending = atomic_load(&journal->pending),
	         generation;
	int64_t now_s = atomic_load(&journal->now_s);

	for (uint64_t i = 0; i < N_NUMBERS; i++) {
		struct entry *e = &journal->entries[i];
		bool found = look_up(fixture.view, i, now_s, &generation);
		bool expected =
		    e->generation && !e->tombstone && e->expires_s > now_s && e->end > tail;

		if (i + 1 == pending)
			e->unknown = true; /* until a later put of it returns */
		if (e->unknown)
			continue;
		must(found == expected);
		must(!found || generation == e->generation);
	}
}

static void write_one(uint64_t *random)
{
	uint64_t number = next_random(random, N_NUMBERS), dice = next_random(random, 100);
	uint64_t generation = atomic_load(&journal->n_done) + 1;
	int64_t now_s = atomic_load(&journal->now_s);
	struct entry e = {.generation = generation,
	                  .expires_s = now_s + 1 + (int64_t)next_random(random, 100),
	                  .tombstone = dice < 10};
	static struct session s;
	int r;

	session_make(&s, number, generation, 32, der_bytes(number, generation));
	/* Pending before, the journal after, then not pending: seq_cst, as a kill may fall between any two. */
	atomic_store(&journal->pending, number + 1);
	r = session_put(fixture.table, &s, e.expires_s, now_s, e.tombstone ? TABLE_TOMBSTONE : 0,
	                &e.end);
	must(r == 0 || r == TABLE_DUPLICATE);
	if (r == 0)
		journal->entries[number] = e;
	atomic_store(&journal->pending, 0);
	atomic_fetch_add(&journal->n_done, 1);
	if (dice == 99)
		atomic_fetch_add(&journal->now_s, 1);
	if (dice >= 97)
		(void)table_expire(fixture.table, now_s, 500);
}

static void be_writer(uint64_t random)
{
	int64_t now_s = atomic_load(&journal->now_s);

	must(table_open(&fixture.table, fixture.path, TABLE_SIZE_MIN, false, now_s, NULL, 0) == 0);
	check_journal();
	for (;;)
		write_one(&random);
}

static pid_t start(void (*be)(uint64_t random), uint64_t random)
{
	pid_t child = fork();

	must(child >= 0);
	if (child == 0) {
		must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
		be(random << 32);
	}
	return child;
}

/* Lets a writer do some random number of puts, then kills it amid the next. */
static void kill_one(uint64_t *random, uint64_t round)
{
	uint64_t target = atomic_load(&journal->n_done) + 1 + next_random(random, 8000);
	pid_t writer = start(be_writer, round + 100);
	int status;

	while (atomic_load(&journal->n_done) < target) {
		must(waitpid(writer, &status, WNOHANG) == 0); /* or a check of its own failed */
		sched_yield();
	}
	for (uint64_t spin = next_random(random, 2000); spin > 0; spin--)
		(void)atomic_load(&journal->stop);
	must(kill(writer, SIGKILL) == 0);
	must(waitpid(writer, &status, 0) == writer);
	must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(void)
{
	const char *factor = getenv("TABLE_STRESS");
	uint64_t n_kills = N_KILLS * (factor ? strtoull(factor, NULL, 10) : 1), random = 1;
	pid_t readers[N_READERS];
	int status;

	journal =
	    mmap(NULL, sizeof(*journal), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(journal != MAP_FAILED);
	atomic_store(&journal->now_s, NOW);
	fixture_init(&fixture);
	must(fixture_open(&fixture, TABLE_SIZE_MIN, NOW, NULL, 0) == TABLE_CREATED);
	table_free(fixture.table);
	fixture.table = NULL;
	for (uint64_t i = 0; i < N_READERS; i++)
		readers[i] = start(be_reader, i + 1);
	for (uint64_t round = 0; round < n_kills; round++)
		kill_one(&random, round);
	atomic_store(&journal->stop, true);
	for (size_t i = 0; i < N_READERS; i++) {
		must(waitpid(readers[i], &status, 0) == readers[i]);
		must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	must(atomic_load(&journal->n_hits) > 0);
	must(table_open(&fixture.table, fixture.path, TABLE_SIZE_MIN, false,
	                atomic_load(&journal->now_s), NULL, 0) == 0);
	check_journal();
	printf("%llu puts, %llu hits\n", (unsigned long long)atomic_load(&journal->n_done),
	       (unsigned long long)atomic_load(&journal->n_hits));
	fixture_deinit(&fixture);
	return 0;
}
