"""What a request costs here, full and resumed, and so how many users a second the load is to have.

Three short loads on a server that shares nothing: a probe that only says roughly how fast this machine is; full
handshakes alone; and users who come back, so that the difference is what a resumption costs. The two that count run at a
busyness near that of the evaluation: an idle server's requests cost more, since each finds caches cold.
"""
import os
import shutil

from .plan import rate_for
from .broken import Broken
from .readings import COUNTS, load_faults, pressure_faults, read_csv, read_json, Run, TOTALS
from .run import load_command, record_load

BUSY = 0.65  # of a core, while it is measured


def measure(lab, plan, directory, tick, name, rate, duration_s, visits, judge_pressure=True):
    """CPU seconds of a's server, and the totals of the load."""
    directory = os.path.join(directory, name)
    os.makedirs(directory)
    command = load_command(lab, plan, directory, rate, duration_s, [1], visits)
    record = record_load(lab, plan, directory, 'off', command, tick, every_ms=100)
    return Calibration(directory, record, judge_pressure and not plan.is_rehearsal)


class Calibration(Run):
    """A recording like that of a run, of node a's server alone."""

    def __init__(self, directory, record, judge_pressure):
        self.directory, self.arm, self.repetition, self.divide = directory, 'calibration', 0, 1
        self.totals = read_json(os.path.join(directory, 'load.json'), TOTALS)
        self.load = read_csv(os.path.join(directory, 'load.csv'), ('time_s', 'open', *COUNTS))
        self.cpu = read_csv(os.path.join(directory, 'cpu.csv'),
                            ('unix_time', 'a_server_us', 'b_server_us', 'core_busy_us'))
        self.groups = record['groups']
        self.about, self.start = record, self.totals['start_unix']
        found = [*load_faults(self), *(pressure_faults(self) if judge_pressure else [])]
        if found:
            raise Broken(f'calibration: {found[0]}')
        self.cpu_s = (self.cpu['a_server_us'][-1] - self.cpu['a_server_us'][0]) / 1e6


def calibrate(lab, plan, directory, peak, tick):
    """Sets plan.rate. Returns what was measured, for summary.json."""
    shutil.rmtree(directory, ignore_errors=True)
    try:
        lab.up(plan, 'off')
        # A core's busy time is counted in ticks of the kernel, 100 a second: too coarse to judge one second by.
        probe = measure(lab, plan, directory, tick, 'probe', 50, 1, 1, judge_pressure=False)
        guess_s = probe.cpu_s / probe.totals['full']
        full = measure(lab, plan, directory, tick, 'full', BUSY / guess_s, 3, 1)
        full_s = full.cpu_s / full.totals['full']
        both = measure(lab, plan, directory, tick, 'resumed', BUSY / (2 * full_s), 3, 3)
        resumed_s = (both.cpu_s - both.totals['full'] * full_s) / max(both.totals['resumed'], 1)
    finally:
        lab.down()
    if not 0 < resumed_s < 2 * full_s:
        raise Broken(f'calibration: {full_s * 1e6:.0f} us of CPU for a full request and {resumed_s * 1e6:.0f} us for a '
                     'resumed one make no sense: is the machine busy with something else? (--rate goes without)')
    plan.rate = round(rate_for(peak, full_s, resumed_s), 1)
    return {'full_request_us': round(full_s * 1e6, 1), 'resumed_request_us': round(resumed_s * 1e6, 1),
            'intended_peak': peak}
