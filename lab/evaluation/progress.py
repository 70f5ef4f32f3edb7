"""How far the evaluation is: a bar on a terminal, a line a step elsewhere."""
import sys
import time


class Progress:
    def __init__(self, total_s):
        self.total_s, self.done_s, self.step_s = total_s, 0, 0
        self.name, self.began = '', time.monotonic()
        self.is_tty = sys.stdout.isatty()

    def step(self, name, seconds):
        """The next step begins, which takes so long."""
        self.done_s += self.step_s
        self.name, self.step_s, self.began = name, seconds, time.monotonic()
        if not self.is_tty:
            print(f'{name} ({self.left()} left)', flush=True)
        self.tick()

    def left(self):
        in_step = min(time.monotonic() - self.began, self.step_s)
        left = max(self.total_s - self.done_s - in_step, 0)
        return f'{left // 60:.0f} min {left % 60:02.0f} s' if left >= 60 else f'{left:.0f} s'

    def tick(self):
        if self.is_tty:
            in_step = min(time.monotonic() - self.began, self.step_s)
            share = min((self.done_s + in_step) / self.total_s, 1)
            bar = '#' * int(share * 30)
            print(f'\r[{bar:30}] {share:4.0%}, {self.left()} left: {self.name}\033[K', end='', flush=True)

    def say(self, text):
        print(f'\r{text}\033[K' if self.is_tty else text, flush=True)
