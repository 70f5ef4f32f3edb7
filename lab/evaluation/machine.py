"""What the machine can do, and what it is: checks before the start, versions for the record."""
import os
import platform
import shutil
import subprocess

from .broken import Broken

# All say their version with -v.
BINARIES = {'apache': '/usr/sbin/apache2', 'nginx': '/usr/sbin/nginx', 'haproxy': '/usr/sbin/haproxy'}


def output(*words):
    try:
        return subprocess.run(words, text=True, capture_output=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ''


def check_rights():
    if os.geteuid() != 0:
        raise Broken('network namespaces need root: run this as root, or with sudo')
    if subprocess.run(['unshare', '--net', 'true'], capture_output=True).returncode != 0:
        raise Broken('this system lets us make no network namespaces')


def check_programs(build, arms, server):
    for program in ('load/tlsbaton-load', 'lab/cpu-record'):
        if not os.access(os.path.join(build, program), os.X_OK):
            raise Broken(f'no {program} in {build}: run make first')
    needed = ['gnuplot', 'taskset', BINARIES[server]] + (['redis-server', 'redis-cli'] if 'redis' in arms else [])
    for program in needed:
        if not shutil.which(program):
            raise Broken(f'{program} is not installed: run scripts/setup evaluate, or leave its arm out with --arms'
                         if program.startswith('redis') else f'{program} is not installed: run scripts/setup evaluate')


def check_cores(load_core, server_core):
    cores = os.sched_getaffinity(0)
    if load_core == server_core:
        raise Broken('the load and the servers need a core each: give two different ones with --cores')
    for core in (load_core, server_core):
        if core not in cores:
            raise Broken(f'there is no core {core} here, or it is not ours: there are '
                         f'{", ".join(map(str, sorted(cores)))} (the load and the servers need one each: --cores)')


def processor():
    with open('/proc/cpuinfo') as file:
        for line in file:
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.machine()


def system():
    with open('/etc/os-release') as file:
        names = dict(line.rstrip().split('=', 1) for line in file if '=' in line)
    return names.get('PRETTY_NAME', 'Linux').strip('"')


def server_version(server):
    # nginx says it on standard error.
    said = subprocess.run([BINARIES[server], '-v'], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    return said.splitlines()[0].removeprefix('Server version: ').removeprefix('nginx version: ')


def describe(plan):
    """The set-up, for summary.json."""
    return {
        'server': plan.server, 'tls': plan.tls, 'tickets': plan.tickets, 'key': plan.key, 'file_bytes': plan.bytes,
        'users_per_s': plan.rate, 'times_divided_by': plan.divide, 'repetitions': plan.repetitions, 'seed': plan.seed,
        'core_of_the_servers': plan.server_core, 'core_of_the_load': plan.load_core, 'cores': os.cpu_count(),
        'processor': processor(), 'system': system(), 'kernel': platform.release(),
        'openssl': output('openssl', 'version'),
        plan.server: server_version(plan.server),
        'redis': output('redis-server', '--version') if 'redis' in plan.arms else None,
    }
