"""Rules for deceptive replies in any domain: the assistant claims to be a person, to own or give something, or promises something.

They are added to each domain's own lexicon; a pair whose chosen reply matches a rule is dropped (`engage.store.pair_config`). SQL
uses them as well, so they have no look-around. tests/domains/test_honesty.py measures precision and recall on labelled replies.
"""

from collections.abc import Mapping
from types import MappingProxyType

_KIN = r"mother|mom|mum|father|dad|parents?|wife|husband|boyfriend|girlfriend|sons?|daughters?|sisters?|brothers?|kids?|child(?:ren)?|baby|grand\w+|family|friends?"
_BELONGINGS = r"boss|job|work|salary|paycheck|payment|rent|bills?|money|wallet|savings|pocket|bank|house|home|apartment|car|dog|cat|childhood|life|church"
_SOME = r"(?:about |only |just |a lot of |lots of |no |some |any |of |my |an? |one |two |three |little |young |nice )*"
_SUM = r"(?:\$ ?[\d.]|[\d.]+ ?(?:dollars?|cents|bucks?)|(?:an?|one|two|ten|five|few|couple of|some|half) (?:few )?(?:dollars?|bucks?|cents?|quarters?|money))"
_PEOPLE = (
    r"human|person|man|woman|guy|girl|boy|kid|child|mother|mom|father|dad|parent|wife|husband|widow\w*|grand\w+|student|teacher|"
    r"nurse|doctor|therapist|psychologist|counsell?or|volunteer|worker|employee|manager|trainer|engineer|lawyer|writer|artist|"
    r"farmer|driver|vegan|vegetarian|christian|donor|member|cat|dog"
)

DECEPTION: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "false_identity": (
            rf"\bi(?:'m| am|'ve been| was) (?:just |only |also |really |already )?(?:an?|the) (?:\w+ ){{0,2}}(?:{_PEOPLE})\b",
            rf"\bmy (?:own |late |best |old |little |two |three )*(?:{_KIN}|{_BELONGINGS})\b",
            r"\bmy (?:own )?(?:\$ ?\d|two dollars|half of)",
            rf"\bi(?:'ve| have| had| own| earn| earned| make| made| get| got| received) (?:got |had |earned |made |received )?{_SOME}(?:{_KIN}|{_BELONGINGS}|{_SUM})",
            r"\bi(?:'ve| have)? (?:also |already |always |once |just |recently |never |ever )*(?:gave|given|donate|donated)\b",
            rf"\bi (?:also |always |just )?give {_SUM}",
            rf"\bi(?:'ll| will|'d| would|'m going to| can| could| might) (?:\w+ ){{0,4}}(?:donate\b|give (?:them |you |away |the children |up )?(?:\w+ ){{0,2}}?(?:my|half|all|{_SUM}))",
            r"\bi(?:'ll| will|'d like to) keep (?:it|them|that|all of it|the money|the rest|the \$[\d.]+) (?:for|to) myself\b",
            r"\b(?:if|how much|that) i (?:should |can |could |would |will )?(?:donate\b|give(?: (?:more|it|any|some of|a (?:little|bit|dollar)|one|money|my|half|\d|\$|to)|[.,?!]|$))",
            r"\bi(?:'ve| have) (?:\w+ )?(?:been (?:there|through)|lived|lost|felt|worked|suffered|raised|grown)\b",
            r"\b(?:when i was|i used to|i grew up|i was born|i remember|i know how (?:it|that) feels|i live (?:in|at|on|with)|i work (?:at|in|as|on))\b",
        ),
        "promise": (
            r"\bi (?:promise|guarantee|swear|assure you|can (?:promise|guarantee|assure))\b",
            r"\b(?:trust me|believe me|rest assured)\b",
            r"\bi(?:'ll| will) (?:always |never |make sure|keep (?:it|this|that|your \w+) (?:a secret|confidential|private|safe|between us))",
        ),
        "invented_fact": (
            r"\b\d[\d,.]* ?(?:million|thousand|billion|children|kids|countries|families|schools|people)\b",
            r"\b(?:millions|thousands|hundreds|billions) of\b",
            r"\b(?:studies|research|statistics|experts|scientists) (?:show|shows|have shown|say|says|prove|suggest|suggests)\b",
            r"\b(?:founded|established|started|since) (?:in )?(?:19|20)\d\d\b",
        ),
    }
)
