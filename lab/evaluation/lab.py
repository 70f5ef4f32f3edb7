"""The lab as the evaluation uses it: nodes on the servers' core, everything else on the other."""
import os
import re
import signal
import subprocess

from .broken import Broken

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILE_NAME = 'evaluation.bin'
URL = f'https://10.77.0.10/{FILE_NAME}'
# What Apache, nginx and HAProxy log of a worker that died of a signal.
CRASH = re.compile(r'exit signal|exited on signal|exited with code 1[2-9]\d')
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CLIENT_ADDRESSES = [f'10.77.0.{host}' for host in range(2, 10)]


class Lab:
    def __init__(self, name, build):
        self.environment = dict(os.environ, LAB_NAME=name, LAB_BUILD=build)
        self.build = build
        self.state = os.path.join(os.environ.get('XDG_RUNTIME_DIR') or '/run', f'{name}-lab')
        self.is_ours = False
        self.server = None  # of the lab that is up

    def command(self, *words):
        return [os.path.join(ROOT, 'lab/lab'), *words]

    def call(self, *words, prefix=()):
        # In a session of its own: a Ctrl-C is ours to handle.
        done = subprocess.run([*prefix, *self.command(*words)], env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True)
        if done.returncode != 0:
            raise Broken(f'lab/lab {" ".join(words)} failed:\n{done.stderr.strip()}')
        return done.stdout

    def up(self, plan, sharing):
        if os.path.exists(self.state):
            raise Broken(f'a lab of this name is up, or was left over ({self.state}); end it with: '
                         f'LAB_NAME={self.environment["LAB_NAME"]} lab/lab down')
        self.is_ours, self.server = True, plan.server
        self.environment['LAB_FILES'] = f'{FILE_NAME}:{plan.bytes}'
        self.call('up', '--server', plan.server, '--sharing', sharing, '--tls', plan.tls, '--tickets', plan.tickets,
                  '--key', plan.key, prefix=('taskset', '-c', str(plan.server_core)))
        # Enough ports for a minute of closed connections.
        self.call('exec', 'client', '--', 'sysctl', '-qw', 'net.ipv4.ip_local_port_range=10000 65000')
        for address in CLIENT_ADDRESSES[1:]:
            self.call('exec', 'client', '--', 'ip', 'address', 'add', f'{address}/24', 'dev', 'eth0')

    def switched_at(self):
        """When the last switchover was completed, in Unix time."""
        with open(os.path.join(self.state, 'switched')) as file:
            return float(file.read().replace(',', '.'))

    def down(self):
        if not self.is_ours:
            return
        # Who is impatient would leave half a lab behind: what comes meanwhile waits.
        waiting = []
        handlers = {number: signal.signal(number, lambda number, _: waiting.append(number))
                    for number in INTERRUPTIONS}
        try:
            self.call('down')
            self.is_ours = False
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])

    def groups(self, sharing):
        """The processes whose CPU is recorded: name and first process of each."""
        groups = {}
        for node in 'ab':
            groups[f'{node}_server'] = self.pid(f'{node}/server.pid')
            if sharing == 'on':
                groups[f'{node}_daemon'] = self.pid(f'{node}/tlsbatond.pid')
        if sharing == 'redis':
            groups['redis'] = self.pid('redis/pid')
        return groups

    def pid(self, file):
        with open(os.path.join(self.state, file)) as text:
            return int(text.read())

    def log_tail(self, group):
        node, _, what = group.partition('_')
        name = {'server': f'{node}/{self.server}.log', 'daemon': f'{node}/tlsbatond.log'}.get(what, 'b/redis.log')
        return self.log_lines(name)[-5:]

    def log_lines(self, name):
        try:
            with open(os.path.join(self.state, name), errors='replace') as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def crashed_workers(self):
        """What the servers' logs say about workers that crashed."""
        return [line for node in 'ab' for line in self.log_lines(f'{node}/{self.server}.log')
                if CRASH.search(line)]
