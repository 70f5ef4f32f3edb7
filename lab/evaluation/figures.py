"""The figures: what is drawn goes into data/*.dat, gnuplot draws it, as SVG and as PNG."""
import csv
import os
import statistics
import subprocess

from .broken import Broken
from .fit import polynomial
from .plan import ARM_TITLES, ARMS, LOAD_S

COLOURS = {'existing': '#d55e00', 'proposed': '#0072b2', 'never-switched': '#444444', 'redis': '#009e73'}
STORES = {'tlsbaton': '#0072b2', 'lmdb': '#cc79a7', 'redis': '#009e73', 'shmcb': '#d55e00', 'dbm': '#e69f00',
          'dbm-search': '#8c6d00'}
STORE_TITLES = {'tlsbaton': "tlsbaton's table", 'lmdb': 'LMDB', 'redis': 'Redis', 'shmcb': "Apache's shmcb cache",
                'dbm': "Apache's DBM cache", 'dbm-search': 'DBM, its search alone'}
TERMINALS = {'svg': 'svg size 960,540 font "DejaVu Sans,13" background "white" dashlength 0.7',
             'png': 'pngcairo size 1440,810 font "DejaVu Sans,13" fontscale 1.4 linewidth 1.5 background "white"'}
SETTINGS = '''
set border 3
set tics nomirror out
set grid ytics linecolor rgb "#dddddd"
set key outside top center horizontal
set style data lines
set datafile missing "?"
'''


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def write_rows(path, header, rows):
    with open(path, 'w') as file:
        file.write(f'# {header}\n')
        for row in rows:
            file.write(' '.join('?' if value is None else f'{value:.4f}' for value in row) + '\n')


def bins(runs, width):
    """The beginnings of the stretches, on the common axis, that every run covers."""
    first = max(run.start - run.moment for run in runs)
    last = min(run.last_s for run in runs)
    i = -int(-first / width)
    while (i + 1) * width <= last:
        yield i * width
        i += 1


def cpu_rows(runs, width):
    """CPU against time: the middle of each stretch, and median, least and most over the repetitions."""
    rows = []
    for begin in bins(runs, width):
        values = [run.serving(begin, begin + width) for run in runs]
        rows.append([begin + width / 2, statistics.median(values), min(values), max(values)])
    return rows


def with_fit(rows):
    """A last column: the polynomial through what came after the switchover."""
    after = [(row[0], row[1]) for row in rows if row[0] > 0]
    curve = polynomial(after) if len(after) > 7 else None
    return [[*row, curve(row[0]) if curve and row[0] > 0 else None] for row in rows]


def load_rows(runs, names):
    """Columns of load.csv against time: medians over the repetitions, second by second."""
    rows = []
    for i in range(min(len(run.load['time_s']) for run in runs)):
        time_s = statistics.median(run.start - run.moment + run.load['time_s'][i] for run in runs)
        rows.append([time_s + 0.5, *(median([run.load[name][i] for run in runs]) for name in names)])
    return rows


def gnuplot(directory, name, script):
    for kind, terminal in TERMINALS.items():
        text = f'set terminal {terminal}\nset output "{name}.{kind}"\n{SETTINGS}{script}'
        done = subprocess.run(['gnuplot'], input=text, text=True, capture_output=True, cwd=directory)
        if done.returncode != 0 or not os.path.getsize(os.path.join(directory, f'{name}.{kind}')):
            raise Broken(f'gnuplot cannot draw {name}: {done.stderr.strip()}')


def time_axis(runs):
    begin, end = statistics.median(run.start - run.moment for run in runs), min(run.last_s for run in runs)
    load_end = begin + LOAD_S / runs[0].divide
    return (f'set xlabel "seconds from the completion of the switchover"\nset xrange [{begin:.2f}:{end:.2f}]\n'
            'set arrow 1 from 0, graph 0 to 0, graph 1 nohead back dashtype 2 linecolor rgb "#888888"\n'
            'set label 1 "switchover" at 0, graph 0.03 offset 0.5, 0 textcolor rgb "#666666"\n'
            f'set arrow 2 from {load_end:.2f}, graph 0 to {load_end:.2f}, graph 1 nohead back dashtype 3 '
            'linecolor rgb "#aaaaaa"\n'
            f'set label 2 "no new users" at {load_end:.2f}, graph 0.03 offset 0.5, 0 textcolor rgb "#888888"\n')


def by_arm(runs):
    """The arms that were run, in the order of the legend, with their runs."""
    return {arm: [run for run in runs if run.arm == arm] for arm in ARMS if any(run.arm == arm for run in runs)}


def draw_cpu(directory, runs):
    width = max(1 / runs[0].divide, 0.25)
    plots = []
    for arm, own in by_arm(runs).items():
        path, colour = f'data/figure2-{arm}.dat', COLOURS[arm]
        write_rows(os.path.join(directory, path), 'time_s cpu min max fit', with_fit(cpu_rows(own, width)))
        plots.append(f'"{path}" using 1:2 with points pointtype 7 pointsize 0.35 linecolor rgb "{colour}" notitle')
        plots.append(f'"{path}" using 1:5 linewidth 2.5 linecolor rgb "{colour}" title "{ARM_TITLES[arm]}"')
    gnuplot(directory, 'figure2', time_axis(runs) + 'set yrange [0:105]\n'
            'set ylabel "CPU of the serving node, % of one core"\nplot ' + ', \\\n'.join(plots) + '\n')


def draw_handshakes(directory, runs):
    names = ('full', 'resumed', 'missed')
    panels = []
    for arm, own in by_arm(runs).items():
        path = f'data/handshakes-{arm}.dat'
        write_rows(os.path.join(directory, path), f'time_s {" ".join(names)}', load_rows(own, names))
        colours = ('#d55e00', '#0072b2', '#000000')
        plots = [f'"{path}" using 1:{i + 2} linewidth 2 linecolor rgb "{colours[i]}" title "{name}"'
                 for i, name in enumerate(names)]
        panels.append(f'set title "{ARM_TITLES[arm]}"\nplot ' + ', '.join(plots) + '\n'
                      'unset key\n')
    most = max(max(row[1:]) for own in by_arm(runs).values() for row in load_rows(own, names))
    columns = 2 if len(panels) > 1 else 1
    axis = time_axis(runs).replace('set label 1', '#').replace('set label 2', '#')
    gnuplot(directory, 'handshakes', f'{axis}set xlabel "seconds from the switchover"\nset ylabel "per second"\n'
            f'set yrange [0:{most * 1.35:.1f}]\nset key inside top right opaque horizontal samplen 1.2 font ",11"\n'
            f'set multiplot layout {-(-len(panels) // columns)},{columns}\n' + ''.join(panels) + 'unset multiplot\n')


def draw_latency(directory, runs):
    plots = []
    for arm, own in by_arm(runs).items():
        path = f'data/latency-{arm}.dat'
        rows = [[time_s, p99 and p99 / 1000] for time_s, p99 in load_rows(own, ('hs_p99_us',))]
        write_rows(os.path.join(directory, path), 'time_s hs_p99_ms', rows)
        plots.append(f'"{path}" using 1:2 linewidth 2 linecolor rgb "{COLOURS[arm]}" title "{ARM_TITLES[arm]}"')
    gnuplot(directory, 'latency', time_axis(runs) + 'set logscale y\n'
            'set ylabel "99th percentile of the handshake, ms"\nplot ' + ', \\\n'.join(plots) + '\n')


def draw_stores(directory):
    """Lookups against sessions stored, from stores.csv; False when nobody measured them."""
    path = os.path.join(directory, 'stores.csv')
    if not os.path.exists(path):
        return False
    stores = {}
    with open(path, newline='') as file:
        for row in csv.DictReader(line for line in file if not line.startswith('#')):
            try:
                stores.setdefault(row['store'], []).append((float(row['sessions']), float(row['get_ns'])))
            except (KeyError, TypeError, ValueError):
                raise Broken(f'{path} has a row without store, sessions and get_ns: {row}') from None
    if not stores:
        raise Broken(f'{path} has no rows')
    plots = []
    for i, (store, rows) in enumerate(sorted(stores.items(), key=lambda item: -max(row[1] for row in item[1]))):
        name = f'data/stores-{store}.dat'
        write_rows(os.path.join(directory, name), 'sessions get_ns', sorted(rows))
        plots.append(f'"{name}" using 1:2 with linespoints pointtype 7 linewidth 2 '
                     f'linecolor rgb "{STORES.get(store, "#999999")}" title "{STORE_TITLES.get(store, store)}"')
    low = min(rows[0][0] for rows in map(sorted, stores.values())) / 1.5
    high = max(rows[-1][0] for rows in map(sorted, stores.values())) * 1.5
    gnuplot(directory, 'stores', f'set logscale xy\nset xrange [{low}:{high}]\n'
            'set xtics ("10,000" 1e4, "100,000" 1e5, "1 million" 1e6, "10 million" 1e7)\n'
            'set ytics ("10 ns" 10, "100 ns" 1e2, "1 us" 1e3, "10 us" 1e4, "100 us" 1e5, "1 ms" 1e6, "10 ms" 1e7, '
            '"100 ms" 1e8, "1 s" 1e9)\nset key outside right center vertical\n'
            'set xlabel "sessions stored"\nset ylabel "one lookup"\nplot ' + ', \\\n'.join(plots) + '\n')
    return True


def write_seconds(directory, runs):
    """data/ARM-REPETITION.csv: every second of a run, load and CPU joined."""
    for run in runs:
        groups = [*run.groups, 'core_busy', 'core_steal']
        path = os.path.join(directory, 'data', f'{run.arm}-{run.repetition + 1}.csv')
        with open(path, 'w', newline='') as file:
            out = csv.writer(file)
            out.writerow(['from_switchover_s', *run.load, 'cpu_serving', *(f'cpu_{group}' for group in groups)])
            for i, second in enumerate(run.load['time_s']):
                begin = run.start + second - run.moment
                cells = ['' if run.load[name][i] is None else f'{run.load[name][i]:.15g}' for name in run.load]
                cpu = [run.serving(begin, begin + 1), *(run.percent(group, begin, begin + 1) for group in groups)]
                out.writerow([f'{begin:.3f}', *cells, *(f'{value:.3f}' for value in cpu)])


def draw(directory, runs):
    """Everything in data/ and all figures; returns the names of the figures."""
    os.makedirs(os.path.join(directory, 'data'), exist_ok=True)
    write_seconds(directory, runs)
    draw_cpu(directory, runs)
    draw_handshakes(directory, runs)
    draw_latency(directory, runs)
    names = ['figure2', 'handshakes', 'latency']
    return names + ['stores'] if draw_stores(directory) else names
