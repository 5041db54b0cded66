"""English exceptions to the affix rules: contractions, abbreviations, times and emoticons.

These are the English and base tokenizer exceptions of spaCy (MIT), generated from their regularities, so that the fast
word rule gives the tokens of `spacy.blank("en")`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

_SUBJECTS = {  # endings of each subject: will, would, have, are, is
    "i": "ll d ve m",
    "you": "ll d ve re",
    "he": "ll d s",
    "she": "ll d s",
    "it": "ll d s",
    "we": "ll d ve re",
    "they": "ll d ve re",
    "who": "ll d ve re s",
    "what": "ll d ve re s",
    "when": "ll d ve re s",
    "where": "ll d ve re s",
    "why": "ll d ve re s",
    "how": "ll d ve re s",
    "there": "ll d ve re s",
    "these": "ll d ve re",
    "those": "ll d ve re",
    "that": "ll d s",
    "this": "ll d s",
}
_NEGATED = [
    *("ca", "could", "do", "does", "did", "had", "may", "might", "must", "need", "ought", "sha", "should", "wo"),
    "would",
]
_NEGATED_ONLY = ["ai", "are", "is", "was", "were", "have", "has", "dare"]
_WITH_HAVE = ["could", "might", "must", "should", "would", "not"]
_OTHER_WORDS = {  # ordinary words that equal a contraction without its apostrophe
    "ill", "its", "hell", "shell", "shed", "were", "well", "whore",
}  # fmt: skip
_ALONE = (
    "em 'em ll 'll nuff 'nuff 'S 's ‘S ‘s and/or w/o 're 'd 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout ma'am "
    "Ma'am o'clock O'clock Mt. Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. Conn. Dec. Del. Feb. Fla. Ga. Ia. Id. Ill. "
    "Ind. Jan. Jul. Jun. Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. "
    "Nev. Nov. Oct. Okla. Ore. Pa. S.C. Sep. Sept. Tenn. Va. Wash. Wis. a.m. Adm. Bros. co. Co. Corp. D.C. Dr. e.g. "
    "E.g. E.G. Gen. Gov. i.e. I.e. I.E. Inc. Jr. Ltd. Md. Messrs. Mo. Mont. Mr. Mrs. Ms. p.m. Ph.D. Prof. Rep. Rev. "
    "Sen. St. vs. v.s. C++ ' — '' \\n \\t <space> ä. ö. ü."
)
_CLIPPED = ["doin", "goin", "nothin", "nuthin", "ol", "somethin", "lovin", "havin"]
_EMOTICONS = (
    r"(*_*) (-8 (-: (-; (-_-) (._.) (: (; (= (>_<) (^_^) (o: (¬_¬) (ಠ_ಠ) (╯°□°）╯︵┻━┻ )-: ): -_- -__- ._. 0.0 0.o 0_0 "
    r"0_o 8) 8-) 8-D 8D :'( :') :'-( :'-) :( :(( :((( :() :) :)) :))) :* :-( :-(( :-((( :-) :-)) :-))) :-* :-/ :-0 "
    r":-3 :-> :-D :-O :-P :-X :-] :-o :-p :-x :-| :-} :/ :0 :1 :3 :> :D :O :P :X :] :o :o) :p :x :| :} :’( :’) :’-( "
    r":’-) ;) ;-) ;-D ;D ;_; <.< </3 <3 <33 <333 =( =) =/ =3 =D =[ =] =| >.< >.> >:( >:o ><(((*> @_@ O.O O.o O_O O_o "
    r"V.V V_V XD XDD [-: [: [= \") ]= ^_^ ^__^ ^___^ o.0 o.O o.o o_0 o_O o_o v.v v_v xD xDD ¯\(ツ)/¯ ಠ_ಠ ಠ︵ಠ"
)

_CUT_INTO = {  # number of words that the affix rules alone make of an exception, if not two
    3: r"and/or w/o Ph.D. <space> (-: (-; (-_-) (^_^) (¬_¬) (ಠ_ಠ) (o: )-: ._. 8-D :'( :’( :') :’) :(( :() :)) :-( :-) "
    r":-* :-> :-] :-} :o) ;-) ;_; <.< >.< >.> >:( >:o [-: \") o.O °c. °f. °k.",
    4: ":'-( :’-( :'-) :’-) :((( :))) :-(( :-))",
    5: "(*_*) (._.) (>_<) :-((( :-)))",
    7: "><(((*>",
    11: "(╯°□°）╯︵┻━┻",
}


@cache
def cut_into() -> dict[str, int]:
    """Return the number of words that the affix rules alone make of an exception, where it is not two."""
    return {word: count for count, text in _CUT_INTO.items() for word in text.split()}


@cache
def special_words() -> dict[str, tuple[str, ...]]:
    """Return the words of each exception."""
    special: dict[str, tuple[str, ...]] = {}
    for pieces in _families():
        for version in (pieces, tuple(piece.replace("'", "’") for piece in pieces)):
            special["".join(version)] = version
    return special


def _families() -> Iterator[tuple[str, ...]]:
    for word in (*_ALONE.split(), *_EMOTICONS.split(), *(f"{chr(c)}." for c in range(ord("a"), ord("z") + 1))):
        yield (word,)
    for word in _CLIPPED:
        for cased in (word, word.title()):
            yield (cased,)
            yield (f"{cased}'",)
    for hour in range(1, 13):
        for period in ("a.m.", "am", "p.m.", "pm"):
            yield (str(hour), period)
    for unit in "CFKcfk":
        yield ("°", unit, ".")
    yield from (("y'", "all"), ("y", "all"))
    for first in "cC":
        yield (f"{first}'m", "on")
    for a, b in (("can", "not"), ("gon", "na"), ("got", "ta"), ("let", "'s")):
        yield from ((a, b), (a.title(), b))
    for pieces in _contractions():
        whole = "".join(pieces)
        if whole.lower() not in _OTHER_WORDS:
            yield pieces


def _contractions() -> Iterator[tuple[str, ...]]:
    for word, endings in _SUBJECTS.items():
        for subject in (word, word.title()):
            for ending in endings.split():
                for mark in ("'", ""):
                    yield (subject, mark + ending)
                    if ending in ("ll", "d"):
                        yield (subject, mark + ending, f"{mark}ve")
                    if ending == "m":
                        yield (subject, f"{mark}m", "a")
    for how in ("how", "How"):
        yield (how, "'d", "'y")
    for word in (*_NEGATED, *_NEGATED_ONLY):
        for verb in (word, word.title()):
            for mark in ("'", ""):
                yield (verb, f"n{mark}t")
                if word in _NEGATED:
                    yield (verb, f"n{mark}t", f"{mark}ve")
    for word in _WITH_HAVE:
        for verb in (word, word.title()):
            for mark in ("'", ""):
                yield (verb, f"{mark}ve")
