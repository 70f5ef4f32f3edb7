"""What the benchmarks of whole servers share: two labs, one a side, with a server's own cache and with tlsbaton."""
import argparse
import os
import signal
import sys

from . import machine
from .broken import Broken
from .lab import Lab, ROOT
from .plan import SERVERS

SIDES = {'own': 'off', 'tlsbaton': 'on'}  # and what `lab/lab up --sharing` is told for each
CASES = [(tls, kind) for tls in ('1.2', '1.3') for kind in ('full', 'resumed')]


def option_parser(program, description):
    def servers(text):
        names = text.split(',')
        if not set(names) <= set(SERVERS):
            raise argparse.ArgumentTypeError(f'some of {",".join(SERVERS)}')
        return names

    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument('--servers', type=servers, default=list(SERVERS), metavar='LIST', help=f'of {",".join(SERVERS)}')
    parser.add_argument('--key', choices=('rsa', 'ecdsa'), default='rsa')
    return parser


def labs(build, default_name):
    name = os.environ.get('LAB_NAME', default_name)
    return {side: Lab(f'{name}-{side}', build) for side in SIDES}


def interrupt(*_):
    raise KeyboardInterrupt


def run(program, header, options, cores, bench):
    """bench(options, build, server) for each server, on the load's core of `cores`. Returns the exit status."""
    build = os.path.abspath(os.path.join(ROOT, os.environ.get('BENCH_BUILD', 'build-bench')))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        machine.check_rights()
        machine.check_cores(*cores)
        os.sched_setaffinity(0, {cores[0]})
        print(header, flush=True)
        for server in options.servers:
            machine.check_programs(build, (), server)
            bench(options, build, server)
    except (Broken, OSError) as fault:
        print(f'{program}: {fault}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'{program}: interrupted', file=sys.stderr)
        return 130
    return 0
