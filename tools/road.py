"""The map that opens a core lesson: nine stations, from a table of reviews to a certificate.

An SVG that reads in the light and in the dark, and on a page of 400 pixels: every word stands on a
plate of its own. The same lesson gives the same bytes.
"""
STATIONS = {
    "reviews": "reviews",
    "split": "split",
    "batch": "encode, batch",
    "model": "model",
    "loss": "loss",
    "train": "train",
    "evaluate": "evaluate",
    "compare": "compare",
    "certify": "certify",
}
WIDTH, HEIGHT, COLUMNS = 480, 186, 3
PLATE, TALL = 136, 34  # pixels, of a station
BLUE, GREY, RED = "#0072B2", "#999999", "#D55E00"  # of sft_nb.figures
LOOKS = {  # plate, letters, edge
    "here": (BLUE, "#FFFFFF", BLUE),
    "been": ("#D6E8F5", "#003B5C", BLUE),
    "ahead": ("#ECEFF1", "#37474F", GREY),
}
LETTERS = 'font-family="system-ui, sans-serif" text-anchor="middle"'


def place(k):
    "The middle of a station: the road runs right, then left, then right again."
    row, column = divmod(k, COLUMNS)
    if row % 2: column = COLUMNS - 1 - column
    return 78 + 162 * column, 42 + 60 * row


def road(first, last, colour):
    "The road from one station to another, with round corners at its turns."
    parts = [f"M{place(first)[0]} {place(first)[1]}"]
    for k in range(first + 1, last + 1):
        (x0, y0), (x, y) = place(k - 1), place(k)
        if y == y0:
            parts.append(f"L{x} {y}")
        else:
            side = x + (92 if x > WIDTH / 2 else -92)
            parts.append(f"C{side} {y0} {side} {y} {x} {y}")
    line = f'<path d="{" ".join(parts)}" fill="none" stroke="{colour}"'
    return f'{line} stroke-width="8" stroke-linecap="round"/>'


def pin(x, y):
    "A pin that points at a place from above."
    drop = f"M{x} {y}C{x - 4} {y - 9} {x - 9} {y - 11} {x - 9} {y - 17}"
    drop += f"A9 9 0 1 1 {x + 9} {y - 17}C{x + 9} {y - 11} {x + 4} {y - 9} {x} {y}Z"
    eye = f'<circle cx="{x}" cy="{y - 17}" r="3.5" fill="#FFFFFF"/>'
    return f'<path d="{drop}" fill="{RED}" stroke="#FFFFFF" stroke-width="1.5"/>{eye}'


def pin_of(k):
    x, y = place(k)
    return pin(x - PLATE // 2 + 12, y - TALL // 2 + 5)


def plate(k, name, look):
    "A station: its name on a plate."
    x, y = place(k)
    fill, ink, edge = LOOKS[look]
    weight = "bold" if look == "here" else "normal"
    lines = [
        f'<rect x="{x - PLATE // 2}" y="{y - TALL // 2}" width="{PLATE}" height="{TALL}" rx="9" '
        f'fill="{fill}" stroke="{edge}" stroke-width="2"/>',
        f'<text x="{x}" y="{y + 5}" {LETTERS} font-size="15" font-weight="{weight}" '
        f'fill="{ink}">{STATIONS[name]}</text>',
    ]
    return "\n".join(lines)


def told(here):
    "For those who do not see the map."
    names = [STATIONS[name] for name in here]
    where = "all of it" if len(names) == len(STATIONS) else ", ".join(names)
    return f"The road: {' → '.join(STATIONS.values())}. You are here: {where}."


def draw(here, been):
    "The map as text. `here`: names of the lesson's stations; `been`: those of the lessons before."
    order = list(STATIONS)
    looks = ["here" if n in here else "been" if n in been else "ahead" for n in order]
    far = max([order.index(name) for name in (*here, *been)])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{told(here)}</title>",
        road(0, len(order) - 1, GREY),
        road(0, far, BLUE),
        *(plate(k, name, look) for k, (name, look) in enumerate(zip(order, looks, strict=True))),
        *(pin_of(order.index(name)) for name in here if len(here) == 1),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
