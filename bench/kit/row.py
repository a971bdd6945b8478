"""One line of the table: what each side measured, pair by pair, and what is claimed of it."""
import statistics

PUBLISH_SECONDS = 60  # of a run whose numbers are more than an indication
OTHERS_PERCENT = 10  # of a core; more than that by strangers disturbs a run


def spread(values):
    """Median, least, most."""
    return statistics.median(values), min(values), max(values)


class Row:
    def __init__(self, name, title):
        self.name, self.title = name, title
        self.sides = {}   # label: list of {figure: number}, one for each pair
        self.claims = []  # dicts: text, values, bound, met
        self.notes = []

    def add(self, label, figures):
        self.sides.setdefault(label, []).append(figures)
        if figures.get("others_percent", 0) > OTHERS_PERCENT:
            self.note(f"{label}: other processes used {figures['others_percent']:.0f} % of a "
                      "core meanwhile; measure again on a quiet machine")
        print(f"  {label:28} " + "  ".join(f"{k} {v:.4g}" for k, v in figures.items()),
              flush=True)

    def has(self, *labels):
        return all(self.sides.get(label) for label in labels)

    def values(self, label, figure):
        return [figures[figure] for figures in self.sides[label] if figure in figures]

    def note(self, text):
        self.notes.append(text)
        print(f"  note: {text}", flush=True)

    def claim(self, text, values, at_least=None, at_most=None):
        """The median of values against a bound; met is None without bound or values."""
        if not values:
            self.claims.append({"text": text, "met": None, "values": []})
            return
        middle, least, most = spread(values)
        met = None
        bound = ""
        if at_least is not None:
            met, bound = middle >= at_least, f">= {at_least:g}"
        if at_most is not None:
            met, bound = middle <= at_most, f"<= {at_most:g}"
        self.claims.append({"text": text, "values": values, "median": middle, "least": least,
                            "most": most, "bound": bound, "met": met})

    def ratio(self, text, over, under, figure, at_least=None, at_most=None, scale=1.0):
        """Paired ratios of one figure: side `over` to side `under`, times scale."""
        if not self.has(over, under):
            self.claim(text + ": not measured", [])
            return
        pairs = zip(self.values(over, figure), self.values(under, figure))
        self.claim(text, [scale * a / b for a, b in pairs if b], at_least, at_most)

    def bounded(self, text, label, figure, at_least=None, at_most=None):
        values = self.values(label, figure) if self.has(label) else []
        self.claim(text, values, at_least, at_most)

    def as_json(self):
        return {"name": self.name, "title": self.title, "sides": self.sides,
                "claims": self.claims, "notes": self.notes}


def claim_text(claim):
    """"1.31 (1.22 to 1.40)   >= 1   reached" """
    if not claim["values"]:
        return "not measured"
    text = f"{claim['median']:.3g}"
    if len(claim["values"]) > 1:
        text += f" ({claim['least']:.3g} to {claim['most']:.3g})"
    return text


def verdict(claim):
    return {True: "reached", False: "MISSED", None: "-"}[claim["met"]]


def print_row(row):
    for claim in row["claims"]:
        bound = claim.get("bound", "")
        print(f"  {claim['text']:62} {claim_text(claim):30} {bound:9} {verdict(claim)}")


def markdown(rows, about):
    """The table for README.md, from as_json() rows."""
    lines = []
    if about["seconds"] < PUBLISH_SECONDS:
        lines += [f"Short runs ({about['seconds']:g} s, pairs: {about['pairs']}): an indication, "
                  "not a result.", ""]
    lines += ["| measure | median (least to most) | wanted | |", "|---|---|---|---|"]
    for row in rows:
        doubt = " (disturbed)" if any("measur" in note for note in row["notes"]) else ""
        for claim in row["claims"]:
            lines.append(f"| {row['name']}: {claim['text']} | {claim_text(claim)} | "
                         f"{claim.get('bound', '')} | {verdict(claim)}{doubt} |")
    lines += ["", "Medians of each side:", "", "| row | side | figures |", "|---|---|---|"]
    for row in rows:
        for label, runs in row["sides"].items():
            figures = ", ".join(
                f"{name} {statistics.median(r[name] for r in runs if name in r):.4g}"
                for name in runs[0])
            lines.append(f"| {row['name']} | {label} | {figures} |")
    notes = [f"- {row['name']}: {note}" for row in rows for note in row["notes"]]
    notes = list(dict.fromkeys(notes))  # once each
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in about.items())
    return "\n".join(lines + ([""] + notes if notes else []) + ["", f"Measured on: {machine}."])
