"""From runs to summary.json: medians over the repetitions, their spread, ratios, and the goals."""
import statistics

from .plan import WINDOWS
from .readings import DRIFT_MAX

COUNTS = ('full', 'resumed', 'missed', 'errors', 'hs_p50_us', 'hs_p99_us')
CPU = (*WINDOWS, 'cpu_peak')


def peak(run, seconds=1.0):
    """The busiest second after the switchover."""
    n = int(run.last_s / seconds)
    return max((run.serving(i * seconds, (i + 1) * seconds) for i in range(n)), default=None)


def figures(run):
    """The figures of one run. A window that the run does not reach to the end of is None."""
    result = {}
    for name, (begin, end) in WINDOWS.items():
        begin, end = begin / run.divide, end / run.divide
        is_covered = run.start - run.moment <= begin and end <= run.last_s
        result[name] = run.serving(begin, end) if is_covered else None
    result['cpu_peak'] = peak(run)
    for name in COUNTS:
        result[name] = run.totals[name]
    first = WINDOWS['cpu_first_10s'][1] / run.divide
    for group in run.groups:
        result[f'{group}_first_10s'] = run.percent(group, 0, first)
    result['other_work'] = run.other_work()
    result['steal'] = run.percent('core_steal', run.start - run.moment, run.last_s)
    return result


def spread(values):
    """Median, minimum and maximum; None when there is nothing."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values)}


def ratios(of, to):
    """Of each CPU figure, the ratio within each repetition: what drifts from one to the next cancels."""
    result = {}
    for name in CPU:
        pairs = [(of[repetition][name], to[repetition][name]) for repetition in sorted(of) if repetition in to]
        result[name] = spread([one / other for one, other in pairs if one is not None and other])
    return result


def drift_corrected(of, to):
    """The same, of figures that are each divided by the CPU before the switchover. Only for two arms that do the same
    until then: what they differ by is the machine's, which was slower or faster in one of the two runs."""
    def corrected(one):
        return {name: one[name] and one[name] / one['cpu_before'] for name in CPU}
    return ratios({repetition: corrected(one) for repetition, one in of.items()},
                  {repetition: corrected(one) for repetition, one in to.items()})


def drift(compared):
    """A note when the machine's speed changed from one arm to the other."""
    found = compared.get('proposed/never-switched', {}).get('cpu_before')
    if not found or max(abs(found['min'] - 1), abs(found['max'] - 1)) <= DRIFT_MAX:
        return []
    return ['before the switchover, where both do the same, the ratio of proposed to never-switched is '
            f'{found["min"]:.2f} to {found["max"]:.2f} instead of 1: the machine\'s speed changed between their runs, '
            'and the ratios have this error']


def goals(arms, compared, setup):
    """What tlsbaton set out to reach, and what came out. None where this evaluation cannot tell."""
    def goal(text, value, limit, is_met):
        return {'goal': text, 'limit': limit, 'measured': value, 'met': None if value is None else is_met(value)}

    def ratio(pair, name):
        found = compared.get(pair, {}).get(name)
        return found and found['median']

    missed = arms.get('proposed', {}).get('spread', {}).get('missed')
    result = [
        goal('proposed: sessions missed, in any repetition', missed and missed['max'], 0, lambda value: value == 0),
        goal('proposed / never-switched: CPU, first 10 s', ratio('proposed/never-switched', 'cpu_first_10s'), 1.05,
             lambda value: value <= 1.05),
        goal('proposed / never-switched: CPU, first 25 s', ratio('proposed/never-switched', 'cpu_first_25s'), 1.05,
             lambda value: value <= 1.05),
        goal('proposed / existing: CPU, 85 to 135 s', ratio('proposed/existing', 'cpu_85_135s'), 1.02,
             lambda value: value <= 1.02),
    ]
    if (setup['tls'], setup['key']) == ('1.2', 'rsa'):
        result.insert(3, goal('existing / proposed: CPU, first 10 s', ratio('existing/proposed', 'cpu_first_10s'), 1.25,
                              lambda value: value >= 1.25))
    return result


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return round(value, 4) if isinstance(value, float) else value


def summarize(runs, setup):
    by_arm = {}
    for run in runs:
        by_arm.setdefault(run.arm, {})[run.repetition] = figures(run)
    arms = {}
    for arm, repetitions in by_arm.items():
        spreads = {name: spread([one[name] for one in repetitions.values()])
                   for name in next(iter(repetitions.values()))}
        arms[arm] = {name: entry and entry['median'] for name, entry in spreads.items()}
        arms[arm]['spread'] = {name: entry and {'min': entry['min'], 'max': entry['max']}
                               for name, entry in spreads.items()}
        arms[arm]['repetitions'] = len(repetitions)
    pairs = [(arm, 'never-switched') for arm in by_arm if arm != 'never-switched']
    pairs += [('existing', 'proposed'), ('proposed', 'existing')]
    compared = {f'{of}/{to}': ratios(by_arm[of], by_arm[to]) for of, to in pairs if of in by_arm and to in by_arm}
    pair = 'proposed/never-switched'
    if pair in compared:
        compared[f'{pair}, drift corrected'] = drift_corrected(by_arm['proposed'], by_arm['never-switched'])
    return rounded({'valid': not setup.get('rehearsal', False), 'setup': setup, 'arms': arms,
                    'ratios': compared, 'notes': drift(compared),
                    'goals': goals(arms, compared, setup)})
