"""Reads what a run recorded, joins load and CPU on one time axis, and finds what makes a run worthless.

Time is in seconds from the completion of the switchover. The CPU recorder's figures are cumulative, so the mean CPU of
any stretch is a difference of two of them, interpolated; no row has to begin where the stretch does.
"""
import bisect
import csv
import json
import os
import statistics

from .broken import Broken

ERRORS_MAX = 0.001  # of the visits
DRIFT_MAX = 0.05    # by which the CPU of two arms that do the same until the switchover may differ until then
OTHER_MAX = 5       # % of the servers' core that something else may take, over the whole load
GAP_MAX_S = 1.0     # between two rows of the recorder
TOTALS = ('start_unix', 'seconds', 'interrupted', 'behind_schedule', 'behind_us', 'visits_planned', 'errors_by_kind',
          'hs_p50_us', 'hs_p99_us', 'started', 'finished', 'full', 'resumed', 'missed', 'errors', 'no_session', 'bytes')
COUNTS = ('started', 'finished', 'full', 'resumed', 'missed', 'errors', 'no_session', 'bytes')


def read_csv(path, required):
    """The columns of a CSV file as numbers; None where a field is empty."""
    try:
        with open(path, newline='') as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise Broken(f'{path} is missing') from None
    if not rows:
        raise Broken(f'{path} has no rows')
    missing = [name for name in required if name not in rows[0]]
    if missing:
        raise Broken(f'{path} has no column {missing[0]}')
    try:
        return {name: [None if row[name] == '' else float(row[name]) for row in rows] for name in rows[0]}
    except (TypeError, ValueError):
        raise Broken(f'{path}: a row is cut off, or has something that is no number') from None


def read_json(path, required=()):
    try:
        with open(path) as file:
            content = json.load(file)
        missing = [name for name in required if name not in content]
        if missing:
            raise Broken(f'{path} has no {missing[0]}')
        return content
    except FileNotFoundError:
        raise Broken(f'{path} is missing') from None
    except ValueError:
        raise Broken(f'{path} is cut off, or no JSON') from None


class Run:
    """One run as recorded. `moment` (Unix time, the zero of its time axis) is set by align()."""

    def __init__(self, directory):
        self.directory = directory
        self.about = read_json(os.path.join(directory, 'run.json'), ('arm', 'repetition', 'divide'))
        self.arm, self.repetition = self.about['arm'], self.about['repetition']
        self.divide = self.about['divide']
        if not self.about.get('complete'):
            raise Broken(f'{self.name}: the run is not complete: {self.about.get("reason", "it was cut short")}')
        self.totals = read_json(os.path.join(directory, 'load.json'), TOTALS)
        self.load = read_csv(os.path.join(directory, 'load.csv'), ('time_s', 'unix_time', 'hs_p99_us', 'open', *COUNTS))
        self.groups = self.about['groups']
        self.cpu = read_csv(os.path.join(directory, 'cpu.csv'),
                            ['unix_time', 'core_busy_us', 'core_steal_us',
                             *(f'{group}_{what}' for group in self.groups for what in ('us', 'processes'))])
        self.start = self.totals['start_unix']
        self.moment = self.about.get('switch_done_unix')

    @property
    def name(self):
        return f'{self.arm}, repetition {self.repetition + 1}'

    @property
    def is_switched(self):
        return 'switch_done_unix' in self.about

    def used_s(self, column, unix_time):
        """The CPU seconds of a column until then, interpolated; as at its ends outside the recording."""
        times, figures = self.cpu['unix_time'], self.cpu[column]
        i = bisect.bisect_right(times, unix_time)
        if i == 0 or i == len(times):
            return figures[0 if i == 0 else -1] / 1e6
        share = (unix_time - times[i - 1]) / (times[i] - times[i - 1])
        return (figures[i - 1] + share * (figures[i] - figures[i - 1])) / 1e6

    def percent(self, column, begin, end):
        """Mean CPU in % of one core, of a column (a group, or core_busy), between two times on the axis."""
        begin, end = begin + self.moment, end + self.moment
        return 100 * (self.used_s(f'{column}_us', end) - self.used_s(f'{column}_us', begin)) / (end - begin)

    def serving(self, begin, end):
        """The CPU of the node that has the service address: its server's and its daemon's."""
        if self.is_switched and begin < 0 < end:
            return (self.serving(begin, 0) * -begin + self.serving(0, end) * end) / (end - begin)
        node = 'b' if self.is_switched and end > 0 else 'a'
        groups = [group for group in (f'{node}_server', f'{node}_daemon') if group in self.groups]
        return sum(self.percent(group, begin, end) for group in groups)

    def other_work(self):
        """What ran on the servers' core besides them, in % of it, over the whole load."""
        columns = [f'{group}_us' for group in self.groups]
        end = self.start + self.totals['seconds']

        def used_s(column):
            return self.used_s(column, end) - self.used_s(column, self.start)
        return 100 * (used_s('core_busy_us') - sum(map(used_s, columns))) / self.totals['seconds']

    @property
    def last_s(self):
        """The end of the load, on the axis."""
        return self.start + self.totals['seconds'] - self.moment


def align(runs):
    """Gives runs that were never switched the moment at which the others were, counted from the load's start."""
    after = [run.moment - run.start for run in runs if run.is_switched]
    if not after:
        raise Broken('no arm was switched over: there is nothing to compare at')
    for run in runs:
        if not run.is_switched:
            run.moment = run.start + statistics.median(after)


def faults(run):
    """All that makes a run worthless, in words."""
    return [f'{run.name}: {fault}' for find in (load_faults, cpu_faults) for fault in find(run)]


def pressure(run):
    """What a machine that is busy with something else does to a run: faults, unless this is a rehearsal."""
    return [f'{run.name}: {fault}' for fault in pressure_faults(run)]


def open_at_switchover(run):
    """How many connections were there when the address moved: it cuts those that are under way."""
    if not run.is_switched:
        return 0
    second = int(run.about['switch_begin_unix'] - run.start)
    return max(run.load['open'][max(second - 1, 0):second + 1], default=0)


def pressure_faults(run):
    totals = run.totals
    if totals['behind_schedule']:
        yield (f'the generator was behind its schedule, by up to {totals["behind_us"] / 1000:.0f} ms: its core is too '
               'slow, or was busy with something else; lower --rate')
    other = run.other_work()
    if other > OTHER_MAX:
        yield (f'something else took {other:.0f} % of the servers\' core: is the machine busy? (More than '
               f'{OTHER_MAX} % spoils the figures.)')
    n_open = open_at_switchover(run)
    if totals['errors'] > ERRORS_MAX * totals['visits_planned'] + n_open:
        kinds = ', '.join(f'{n} {kind}' for kind, n in totals['errors_by_kind'].items())
        cut = f', and more than the {n_open:.0f} that the switchover may have cut' if run.is_switched else ''
        yield (f'{totals["errors"]} of {totals["visits_planned"]} visits failed ({kinds}): more than '
               f'{100 * ERRORS_MAX:g} %{cut}')


def load_faults(run):
    totals, load = run.totals, run.load
    if totals['interrupted']:
        yield 'the load was interrupted'
    if totals['started'] != totals['visits_planned']:
        yield f'{totals["started"]} visits of {totals["visits_planned"]} planned began'
    if load['time_s'] != list(range(len(load['time_s']))):
        yield 'load.csv lacks seconds'
    for name in COUNTS:
        if sum(load[name]) != totals[name]:
            yield f'load.csv has {sum(load[name]):.0f} {name} in all, load.json {totals[name]}'
    if run.arm == 'existing' and totals['missed'] == 0:
        yield 'no session was missed although nothing is shared: the service did not move'


def cpu_faults(run):
    times = run.cpu['unix_time']
    gap = max((after - before for before, after in zip(times, times[1:])), default=GAP_MAX_S * 2)
    if gap > GAP_MAX_S:
        yield f'cpu.csv has a gap of {gap:.1f} s'
    if times[0] > run.start + 0.5 or times[-1] < run.start + run.totals['seconds'] - 0.5:
        yield 'cpu.csv does not cover the load'
    for group in run.groups:
        if any(after < before for before, after in zip(run.cpu[f'{group}_us'], run.cpu[f'{group}_us'][1:])):
            yield f'the CPU time of {group} goes down'
        if min(run.cpu[f'{group}_processes']) < 1:
            yield f'{group} had no process for some time: it died'
    if not run.is_switched and run.arm != 'never-switched':
        yield 'the switchover is missing'


def read_runs(directory, is_rehearsal):
    """All runs below a directory, aligned, and what only a rehearsal bears. Raises Broken with every fault found."""
    runs, found, borne = [], [], []
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        names = []
    for name in names:
        try:
            runs.append(Run(os.path.join(directory, name)))
            found += faults(runs[-1])
            (borne if is_rehearsal else found).extend(pressure(runs[-1]))
        except Broken as fault:
            found.append(str(fault))
    if not names:
        found.append(f'{directory} has no run')
    if found:
        raise Broken('\n'.join(found))
    align(runs)
    return runs, borne
