"""Pairs to compare backends on where a user gives none: short, long, and cut ones.

They are in English and about everyday things. Agreement on them says little about other languages
or about a user's own texts, which is why their use is always announced.
"""

from __future__ import annotations

from rankwright.model.golden import GoldenQuery

__all__ = ["SAMPLE", "sample_queries"]

SAMPLE: tuple[tuple[str, str], ...] = (
    (
        "how do i reset my password",
        "Open the sign-in page and choose 'Forgot password'. We send a link to your address that "
        "is valid for one hour. Passwords must have twelve characters or more.",
    ),
    (
        "opening hours on public holidays",
        "Our shops are closed on public holidays, except on the two Sundays before Christmas, when "
        "they open from noon to six.",
    ),
    ("boiling point of water at altitude", "At 3,000 metres water boils at about 90 °C."),
    (
        "refund for a delayed train",
        "If your train arrives more than sixty minutes late you may claim a quarter of the fare, "
        "and half of it from two hours on. Keep the ticket and file the claim within a year. "
        "Season tickets follow their own rules.",
    ),
    (
        "python read a file line by line",
        "with open(path, encoding='utf-8') as lines:\n    for line in lines:\n"
        "        print(line.rstrip())",
    ),
    (
        "symptoms of iron deficiency",
        "Tiredness, pale skin, short breath under strain and brittle nails are common signs. Only "
        "a blood test tells, and the cause should be found before supplements are taken.",
    ),
    ("capital of Mongolia", "Ulaanbaatar is the capital and the largest city of Mongolia."),
    (
        "how long to boil an egg",
        "Four minutes for a soft egg, seven for a firm white and a creamy yolk, ten for a hard "
        "one, counted from when the water boils again.",
    ),
    (
        "difference between HTTP 401 and 403",
        "401 means that nobody is signed in or that the credentials are wrong: try again with "
        "others. 403 means that the server knows who asks and refuses all the same.",
    ),
    (
        "when to prune apple trees",
        "Prune in late winter, while the tree rests and hard frosts are over. Remove dead wood, "
        "then branches that cross, and keep the crown open to light.",
    ),
    (
        "warranty period for laptops",
        "Laptops come with a warranty of two years. The battery is covered for one. Damage by "
        "liquids or falls is not covered unless you bought the accident plan.",
    ),
    (
        "who wrote the origin of species",
        "Charles Darwin published On the Origin of Species in November 1859; all copies were sold "
        "to booksellers on the first day.",
    ),
)
"""A query and the document that answers it."""

_OTHERS = 5


def sample_queries() -> tuple[GoldenQuery, ...]:
    """Each query with its answer, answers to others, a long text and a very short one."""
    answers = [answer for _, answer in SAMPLE]
    found = []
    for i, (query, answer) in enumerate(SAMPLE):
        others = [answers[(i + 1 + 2 * j) % len(answers)] for j in range(_OTHERS)]
        start = " ".join(answers[(i + k) % len(answers)] for k in range(1 + i % 6, 7))
        long = " ".join([start] * (1 + 2 * (i % 3)))
        found.append(GoldenQuery(query, (answer, *dict.fromkeys([*others, long, query]))))
    return tuple(found)
