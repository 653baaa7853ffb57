"""The metrics page, read."""

import re

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    def __init__(self, text):
        self.text = text
        self.help = {}
        self.types = {}
        self.samples = []
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name, _, words = line[7:].partition(" ")
                self.help[name] = words
            elif line.startswith("# TYPE "):
                name, kind = line[7:].split(" ")
                self.types[name] = kind
            elif line and not line.startswith("#"):
                name, labels, value = SAMPLE.match(line).groups()
                self.samples.append((name, dict(LABEL.findall(labels or "")), float(value)))

    def find(self, name, **labels):
        return [
            (have, value)
            for got, have, value in self.samples
            if got == name and all(have.get(key) == want for key, want in labels.items())
        ]

    def value(self, name, **labels):
        """The sum over all samples of that name with those labels; 0 if there is none."""
        return sum(value for _, value in self.find(name, **labels))

    def names(self):
        return {name for name, _, _ in self.samples}
