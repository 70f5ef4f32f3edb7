"""What one evaluation does: the paper's timeline, the four arms, and how many users a second a core bears."""
import dataclasses

THINK_S = (5, 10, 30, 60)
LOAD_S, SWITCH_AT_S = 90, 30
VISITS = 3
# Stretches of time, in seconds from the completion of the switchover, whose mean CPU the summary has.
WINDOWS = {'cpu_before': (-15, -5), 'cpu_first_10s': (0, 10), 'cpu_first_25s': (0, 25), 'cpu_85_135s': (85, 135)}
# What `lab/lab up` is told for each arm.
ARMS = {'existing': 'off', 'proposed': 'on', 'never-switched': 'on', 'redis': 'redis'}
ARM_TITLES = {
    'existing': 'existing: nothing shared',
    'proposed': 'proposed: tlsbaton',
    'never-switched': 'never switched: the limit',
    'redis': 'a central Redis',
}


# By the names that `lab/lab up --server` takes: what the server is called, and its own cache, which `existing` has.
SERVERS = {
    'apache': ('Apache', 'shmcb'),
    'nginx': ('nginx', 'ssl_session_cache shared'),
    'haproxy': ('HAProxy', 'tune.ssl.cachesize'),
}


@dataclasses.dataclass
class Plan:
    """All times are the paper's; `divide` divides each of them."""
    divide: float = 1
    tls: str = '1.2'
    key: str = 'rsa'
    bytes: int = 51200
    rate: float | None = None
    arms: tuple = tuple(ARMS)
    repetitions: int = 3
    load_core: int = 0
    server_core: int = 1
    seed: int = 1
    is_rehearsal: bool = False  # a late generator and failed visits are borne
    server: str = 'apache'
    tickets: str = 'off'

    def seconds(self, of_the_paper):
        return of_the_paper / self.divide

    @property
    def thinks_s(self):
        return [self.seconds(think) for think in THINK_S]

    @property
    def timeout_s(self):
        """Of a visit; long enough for a connection request to be sent twice more."""
        return min(max(self.seconds(60), 4), 10)

    @property
    def run_s(self):
        """From the first user's arrival to the last one's last visit."""
        return self.seconds(LOAD_S + (VISITS - 1) * max(THINK_S))

    def order(self, repetition):
        """The arms, in an order that rotates: what drifts over the hour does not fall on one arm."""
        first = repetition % len(self.arms)
        return self.arms[first:] + self.arms[:first]


def expected_visits(second, switched=True):
    """The visits in that second of the paper's time, for one user a second: (full, resumed).

    With `switched` as in the arm that shares nothing: a visit is missed when the switchover fell between it
    and the one before.
    """
    full = resumed = 0
    for think in THINK_S:
        for visit in range(VISITS):
            if not 0 <= second - visit * think < LOAD_S:
                continue
            missed = switched and second - think < SWITCH_AT_S <= second
            if visit == 0 or missed:
                full += 1 / len(THINK_S)
            else:
                resumed += 1 / len(THINK_S)
    return full, resumed


def rate_for(peak, full_s, resumed_s):
    """Users a second with which the arm that shares nothing needs `peak` cores at its worst, when a request
    takes `full_s` and `resumed_s` seconds of CPU."""
    worst = max(full * full_s + resumed * resumed_s
                for full, resumed in map(expected_visits, range(LOAD_S + (VISITS - 1) * max(THINK_S))))
    return peak / worst
