"""The report of a directory: from runs/ and setup.json to data/, figures, summary.json and index.html.

Either all of it is made, or summary.json says what is wrong and nothing is drawn.
"""
import json
import os

from .broken import Broken
from .figures import TERMINALS, draw
from .page import write_page
from .readings import read_json, read_runs
from .summary import summarize

MADE = ['index.html', 'summary.json', *(f'{name}.{kind}' for name in ('figure2', 'handshakes', 'latency', 'stores')
                                        for kind in TERMINALS)]


def remove_report(directory):
    for name in MADE:
        try:
            os.remove(os.path.join(directory, name))
        except FileNotFoundError:
            pass


def write_summary(directory, summary):
    with open(os.path.join(directory, 'summary.json'), 'w') as file:
        json.dump(summary, file, indent=1)
        file.write('\n')


def mark_invalid(directory, reason, incomplete=False):
    """No figure remains, and summary.json says why."""
    remove_report(directory)
    write_summary(directory, {'valid': False, 'incomplete': incomplete, 'reasons': reason.splitlines()})


def discarded(directory):
    """The runs that something disturbed and that were repeated."""
    try:
        return sorted(os.listdir(os.path.join(directory, 'discarded')))
    except FileNotFoundError:
        return []


def check_complete(runs, setup):
    """Every arm as often as it was to run."""
    for arm in setup['arms']:
        n = sum(run.arm == arm for run in runs)
        if n != setup['repetitions']:
            raise Broken(f'{arm}: {n} runs of {setup["repetitions"]}')


def make_report(directory):
    """Returns the summary. Raises Broken, with summary.json marked invalid, when there is a fault."""
    if not os.path.isdir(directory):
        raise Broken(f'{directory}: no such directory')
    remove_report(directory)
    try:
        setup = read_json(os.path.join(directory, 'setup.json'))
        runs, borne = read_runs(os.path.join(directory, 'runs'), setup.get('rehearsal', False))
        check_complete(runs, setup)
        setup['cpu_recorded_with'] = runs[0].about['cpu_method']
        summary = summarize(runs, setup)
        summary['notes'] += borne
        summary['runs_discarded'] = discarded(directory)
        write_page(directory, summary, draw(directory, runs))
        write_summary(directory, summary)
    except Broken as fault:
        mark_invalid(directory, str(fault))
        raise
    return summary
