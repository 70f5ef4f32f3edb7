"""One run of one arm: lab up, recorder, load, switchover, and the recordings kept as they came.

A run leaves in its directory: run.json (what was done when), load.csv, load.json, load.err, cpu.csv and, with tlsbaton,
what each node's daemon says at the end. Nothing is computed here; readings.py does that.
"""
import json
import os
import signal
import subprocess
import time

from .broken import Broken
from .lab import CLIENT_ADDRESSES, URL
from .plan import ARMS, LOAD_S, SWITCH_AT_S, VISITS
from .readings import faults, pressure, Run

ATTEMPTS = 3  # at a run that something else on the machine disturbs


class Process:
    """A child that is ended with the block, whatever happens in it."""

    def __init__(self, words, **options):
        self.words = words
        self.options = options

    def __enter__(self):
        self.child = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, text=True,
                                      start_new_session=True, **self.options)
        return self.child

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        for pipe in (self.child.stdout, self.child.stderr):
            if pipe:
                pipe.close()


def load_command(lab, plan, directory, rate, duration_s, thinks_s, visits, busy_poll=False):
    words = [os.path.join(lab.build, 'load/tlsbaton-load'), '--rate', f'{rate:.3f}',
             '--duration', f'{duration_s:.6f}',
             '--think', ','.join(f'{think:.6f}' for think in thinks_s), '--visits', str(visits),
             '--seed', str(plan.seed), '--timeout', f'{plan.timeout_s:g}',
             '--tls', plan.tls, '--ca', os.path.join(lab.state, 'server.pem'),
             '--csv', os.path.join(directory, 'load.csv'), '--json', '--cpu', str(plan.load_core),
             '--source', ','.join(CLIENT_ADDRESSES)]
    if plan.tls == '1.2' and plan.tickets == 'off':
        words.append('--no-tickets')
    if busy_poll:
        words.append('--busy-poll')
    return lab.command('exec', 'client', '--', *words, URL)


def recorder_command(lab, plan, directory, groups, every_ms):
    return [os.path.join(lab.build, 'lab/cpu-record'), '--csv', os.path.join(directory, 'cpu.csv'),
            '--every', str(every_ms), '--core', str(plan.server_core),
            *(f'{name}:{pid}' for name, pid in groups.items())]


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def check_alive(lab, groups, recorder):
    for name, pid in groups.items():
        if not is_alive(pid):
            tail = '\n'.join(lab.log_tail(name))
            raise Broken(f'{name} (process {pid}) died during the run; its log ends:\n{tail}')
    if recorder.poll() is not None:
        raise Broken(f'cpu-record ended during the run: {recorder.stderr.read().strip()}')


def wait_for_load(load, lab, groups, recorder, until, tick):
    """Until the load ends, or the moment. Returns whether it is still running."""
    while load.poll() is None and (until is None or time.time() < until):
        check_alive(lab, groups, recorder)
        tick()
        rest = 0.2 if until is None else min(0.2, max(until - time.time(), 0))
        try:
            load.wait(max(rest, 0.001))
        except subprocess.TimeoutExpired:
            pass
    check_alive(lab, groups, recorder)
    return load.poll() is None


def read_load_error(directory):
    with open(os.path.join(directory, 'load.err'), errors='replace') as file:
        return file.read().strip()


def record_load(lab, plan, directory, sharing, command, tick, every_ms, at_switch=None):
    """Runs the load on the lab that is up. Returns what run.json says of it."""
    groups = lab.groups(sharing)
    record = {'groups': list(groups)}
    with open(os.path.join(directory, 'load.json'), 'w') as out, \
            open(os.path.join(directory, 'load.err'), 'w') as err, \
            Process(recorder_command(lab, plan, directory, groups, every_ms), stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE) as recorder:
        first = recorder.stdout.readline().split()
        if first[:1] != ['recording']:
            raise Broken(f'no CPU time can be recorded: {recorder.stderr.read().strip()}')
        record['cpu_method'] = first[1]
        spawned = time.time()
        with Process(command, stdout=out, stderr=err, env=lab.environment) as load:
            if at_switch is not None:
                if not wait_for_load(load, lab, groups, recorder, spawned + at_switch, tick):
                    raise Broken(f'tlsbaton-load ended early: {read_load_error(directory)}')
                record['switch_begin_unix'] = time.time()
                lab.call('switchover')
                record['switch_done_unix'] = lab.switched_at()
            wait_for_load(load, lab, groups, recorder, None, tick)
            record['load_status'] = load.returncode
        recorder.send_signal(signal.SIGTERM)
        recorder.wait()
    if record['load_status'] not in (0, 3):  # 3: behind its schedule, which the readings tell about
        raise Broken(f'tlsbaton-load failed ({record["load_status"]}): {read_load_error(directory)}')
    crashed = lab.crashed_workers()
    if crashed:
        raise Broken(f'a worker of the server crashed: {crashed[0]}')
    return record


def save_status(lab, directory):
    """What the daemons counted, for those who want to know where time went."""
    for node in 'ab':
        words = [os.path.join(lab.build, 'src/cli/tlsbaton'), '--control',
                 os.path.join(lab.state, node, 'run/control.sock'), 'status', '--json']
        with open(os.path.join(directory, f'status-{node}.json'), 'w') as file:
            subprocess.run(lab.command('exec', node, '--', *words), stdout=file, stderr=subprocess.STDOUT,
                           env=lab.environment, check=False)


def run_until_sound(lab, plan, arm, repetition, directory, discarded, tick, say):
    """Runs one arm, again when something disturbed it. The disturbed one moves to discarded/, for who doubts."""
    for attempt in range(ATTEMPTS):
        run_arm(lab, plan, arm, repetition, directory, tick)
        run = Run(directory)
        found = faults(run) + ([] if plan.is_rehearsal else pressure(run))
        if not found:
            return
        say('\n'.join(found))
        if attempt + 1 == ATTEMPTS:
            raise Broken('\n'.join([*found, f'(after {ATTEMPTS} attempts)']))
        os.rename(directory, os.path.join(discarded, f'{os.path.basename(directory)}-attempt-{attempt + 1}'))


def run_arm(lab, plan, arm, repetition, directory, tick):
    """Runs one arm. Raises Broken when there is nothing to build on; run.json then says why."""
    record = {'arm': arm, 'repetition': repetition, 'divide': plan.divide, 'rate': plan.rate, 'complete': False}
    switch = arm != 'never-switched'
    os.makedirs(directory)
    try:
        lab.up(plan, ARMS[arm])
        command = load_command(lab, plan, directory, plan.rate, plan.seconds(LOAD_S), plan.thinks_s, VISITS)
        record.update(record_load(lab, plan, directory, ARMS[arm], command, tick,
                                  every_ms=max(int(1000 / plan.divide / 2), 20) if plan.divide > 1 else 200,
                                  at_switch=plan.seconds(SWITCH_AT_S) if switch else None))
        if ARMS[arm] == 'on':
            save_status(lab, directory)
        record['complete'] = True
    except Broken as reason:
        record['reason'] = str(reason)
        raise Broken(f'{arm}, repetition {repetition + 1}: {reason}') from None
    except KeyboardInterrupt:
        record['reason'] = 'interrupted'
        raise
    finally:
        with open(os.path.join(directory, 'run.json'), 'w') as file:
            json.dump(record, file, indent=1)
            file.write('\n')
        lab.down()
