"""index.html: the result for somebody who knows nothing of it yet. One file, figures inside."""
import base64
import html
import os

from .plan import ARM_TITLES, ARMS, SERVERS

STYLE = '''
body { font: 16px/1.5 "DejaVu Sans", Verdana, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
figure { margin: 1rem 0 } figure img { width: 100%; height: auto } figcaption { font-size: .9rem; color: #555 }
table { border-collapse: collapse; font-size: .9rem } th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd }
th { text-align: left; vertical-align: bottom } td { text-align: right } td:first-child { text-align: left }
.scroll { overflow-x: auto } .met { color: #00694d } .missed { color: #b03a00; font-weight: bold }
.note { background: #fff6e0; padding: .6rem 1rem }
'''
CAPTIONS = {
    'figure2': 'CPU of the node that holds the service address: its servers and its tlsbatond. Points: stretches of time, '
               'medians over the repetitions. Lines: polynomials of the 6th degree through what came after the '
               'switchover, as in the paper; at their ends, and where the load drops, they sway more than what they '
               'are fitted to.',
    'handshakes': 'Handshakes each second. “Missed” are those full handshakes whose client had offered a session.',
    'latency': 'How long the slowest hundredth of the handshakes took at least, from the moment at which the client was '
               'due to start. A connection request that the moving address swallows is sent again after a second: '
               'that is the peak at the switchover.',
    'stores': 'What one lookup costs, by how many sessions are stored. Apache reads its whole DBM file at each lookup, to look '
              'for expired sessions; without that it is the search alone.',
}
HEADINGS = {'figure2': 'CPU around a switchover', 'handshakes': 'Handshakes', 'latency': 'What clients wait',
            'stores': 'The price of a lookup'}
ROWS = {
    'cpu_before': ('CPU, 15 to 5 s before', '%', 1),
    'cpu_first_10s': ('CPU, first 10 s', '%', 1), 'cpu_first_25s': ('CPU, first 25 s', '%', 1),
    'cpu_peak': ('CPU, busiest second', '%', 1), 'cpu_85_135s': ('CPU, 85 to 135 s', '%', 1),
    'full': ('full handshakes', '', 0), 'resumed': ('resumed', '', 0), 'missed': ('missed', '', 0),
    'errors': ('failed visits', '', 0), 'hs_p50_us': ('handshake, median', 'ms', 2),
    'hs_p99_us': ('handshake, 99th percentile', 'ms', 2),
}


def number(value, digits, unit):
    if value is None:
        return '–'
    return f'{value / 1000 if unit == "ms" else value:.{digits}f}'


def cell(arm, name):
    _, unit, digits = ROWS[name]
    text, spread = number(arm.get(name), digits, unit), arm['spread'].get(name)
    if spread and arm['repetitions'] > 1 and spread['min'] != spread['max']:
        text += f'<br><small>{number(spread["min"], digits, unit)} to {number(spread["max"], digits, unit)}</small>'
    return f'<td>{text}</td>'


def arms_table(summary):
    arms = [arm for arm in ARMS if arm in summary['arms']]
    head = ''.join(f'<th>{html.escape(ARM_TITLES[arm])}</th>' for arm in arms)
    rows = ''
    for name, (title, unit, _) in ROWS.items():
        cells = ''.join(cell(summary['arms'][arm], name) for arm in arms)
        rows += f'<tr><td>{title}{f", {unit}" if unit else ""}</td>{cells}</tr>\n'
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>\n{rows}</table></div>'


def ratios_table(summary):
    names = [name for name in ROWS if name.startswith('cpu_')]
    head = ''.join(f'<th>{ROWS[name][0]}</th>' for name in names)
    rows = ''
    for pair, ratios in summary['ratios'].items():
        cells = ''
        for name in names:
            found = ratios[name]
            cells += f'<td>{found["median"]:.2f}' if found else '<td>–'
            if found and found['min'] != found['max']:
                cells += f'<br><small>{found["min"]:.2f} to {found["max"]:.2f}</small>'
            cells += '</td>'
        rows += f'<tr><td>{pair.replace("/", " / ")}</td>{cells}</tr>\n'
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>\n{rows}</table></div>'


def goals_table(summary):
    rows = ''
    for goal in summary['goals']:
        verdict = {None: ('', 'not measured'), True: ('met', 'met'), False: ('missed', 'missed')}[goal['met']]
        measured = '–' if goal['measured'] is None else f'{goal["measured"]:.3g}'
        rows += (f'<tr><td>{html.escape(goal["goal"])}</td><td>{goal["limit"]}</td><td>{measured}</td>'
                 f'<td class="{verdict[0]}">{verdict[1]}</td></tr>\n')
    return f'<table><tr><th>goal</th><th>limit</th><th>measured</th><th></th></tr>\n{rows}</table>'


def setup_table(setup):
    rows = ''.join(f'<tr><td>{html.escape(name.replace("_", " "))}</td><td>{html.escape(str(value))}</td></tr>\n'
                   for name, value in setup.items() if value is not None)
    return f'<div class="scroll"><table>{rows}</table></div>'


def figure(directory, name):
    with open(os.path.join(directory, f'{name}.svg'), 'rb') as file:
        data = base64.b64encode(file.read()).decode()
    return (f'<h2>{HEADINGS[name]}</h2>\n<figure><img alt="{HEADINGS[name]}" src="data:image/svg+xml;base64,{data}">\n'
            f'<figcaption>{CAPTIONS[name]}</figcaption></figure>\n')


def times(setup):
    divide = setup['times_divided_by']
    scaled = [f'{seconds / divide:.3g}' for seconds in (90, 30, 5, 10, 30, 60, 10, 25, 85, 135)]
    note = ''
    if divide != 1:
        note = (f'<p class="note">This was a short run: all times are divided by {divide:g}. Where this page and summary.json '
                f'say 10 s, 25 s and 85 to 135 s they mean {scaled[6]} s, {scaled[7]} s and {scaled[8]} to {scaled[9]} s. '
                'With so few seconds the figures spread; the full run decides.</p>')
    if setup.get('rehearsal'):
        note += '<p class="note"><b>A rehearsal, and no measurement:</b> it was run on a machine that may have been busy.</p>'
    return scaled, note


def notes(summary):
    return ''.join(f'<p class="note">{html.escape(note)}</p>\n' for note in summary['notes'])


def discarded(summary):
    names = summary['runs_discarded']
    if not names:
        return ''
    return (f'<p>Runs that something else on the machine disturbed were repeated: {html.escape(", ".join(names))}; what was '
            'recorded of them is in <code>discarded/</code>.</p>')


def write_page(directory, summary, figures):
    setup = summary['setup']
    (load, switch, *thinks), note = times(setup)[0][:6], times(setup)[1]
    visits = f'{setup["users_per_s"]:g}'
    server, cache = SERVERS[setup.get('server', 'apache')]
    text = f'''<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>What happens to a server's CPU when a TLS service moves</title>
<style>{STYLE}</style></head><body>
<h1>What happens to a server's CPU when a TLS service moves</h1>
{note}
<h2>The question</h2>
<p>A client that comes back to a TLS server <em>resumes</em>: both remember the secrets of the first, expensive handshake.
When the service moves to another machine, that machine remembers nothing. Every returning client does a full handshake
at once, and the new server's load jumps. How much, for how long, and what of it is left when the sessions are there
already? A paper of 2009 (Meiji University) asked this; its Figure 2 is repeated here with today's servers.</p>
<h2>The set-up</h2>
<p>Two nodes with {server}, one service address. {visits} new users arrive each second for {load} s. Each makes a full
handshake, fetches {setup["file_bytes"]} bytes, comes back after its think time ({", ".join(thinks)} s, in equal shares),
and once more after as long again. {switch} s after the start the service address moves from node a to node b. The arms
get the same users at the same times:</p>
<ul>
<li><b>existing</b>: each {server} has its own session cache ({cache}), nothing is shared;</li>
<li><b>proposed</b>: tlsbaton carries each session to the other node before its client is answered;</li>
<li><b>never switched</b>: tlsbaton, and the service stays where it is: nothing can be better than this;</li>
<li><b>Redis</b>: both Apaches keep their sessions in one Redis, through mod_socache_redis: what many do today. Redis's
own CPU is not in the curve; it is in the data (<code>redis_first_10s</code> in summary.json).</li>
</ul>
<p>Both nodes, their daemons and Redis share one core; the clients have the other.</p>
{"".join(figure(directory, name) for name in figures[:1])}
<h2>In figures</h2>
<p>CPU in % of one core, times from the completion of the switchover. Medians of {setup["repetitions"]}
repetition{"s, with the least and the most" if setup["repetitions"] > 1 else ""}.</p>
{arms_table(summary)}
{notes(summary)}
{discarded(summary)}
<p>Ratios, each within one repetition:</p>
{ratios_table(summary)}
<h2>The goals</h2>
{goals_table(summary)}
{"".join(figure(directory, name) for name in figures[1:])}
<h2>What it does not show</h2>
<ul>
<li>Absolute figures of your machines. Ratios travel; percentages, rates and milliseconds do not.</li>
<li>Networks with latency or loss: all of this is one machine with network namespaces.</li>
<li>Kernel work that no process is charged with. Part of what receiving packets costs falls to the other core, where the
clients are; it does in all arms alike.</li>
<li>A crash. This switchover is planned; what is lost in a crash, tests/integration/test-crash shows.</li>
<li>Services with larger pages, keep-alive or client certificates: the more other work a visit makes, the less the
handshake counts.</li>
<li>An encrypted Redis: mod_socache_redis has no TLS, so that arm sends session secrets in the clear.</li>
</ul>
<h2>The machine and its software</h2>
{setup_table(setup)}
<p>Every second of every run is in <code>data/</code>, what was recorded in <code>runs/</code>, all figures of this page in
<code>summary.json</code>. <code>lab/evaluate --report-only DIRECTORY</code> makes this report again.</p>
</body></html>
'''
    with open(os.path.join(directory, 'index.html'), 'w') as file:
        file.write(text)
