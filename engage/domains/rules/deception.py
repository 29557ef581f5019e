"""Rules for deceptive replies in any domain: the assistant claims to be a person, a life, to own or give something, or promises something.

They are added to each domain's own lexicon; a pair whose chosen reply matches a rule is dropped (`engage.store.pair_config`). SQL
uses them as well, so they have no look-around. tests/domains/test_honesty.py and test_deception_quality.py measure precision and recall on labelled replies.
"""

from collections.abc import Mapping
from types import MappingProxyType

_KIN = r"mother|mom|mum|father|dad|parents?|wife|husband|boyfriend|girlfriend|sons?|daughters?|sisters?|brothers?|kids?|child(?:ren)?|baby|grand\w+|family|friends?"
_BELONGINGS = r"boss|job|work|salary|paycheck|payment|rent|bills?|money|wallet|savings|pocket|bank|house|home|apartment|car|dog|cat|childhood|life|church"
_SOME = r"(?:about |only |just |a lot of |lots of |no |some |any |of |my |an? |one |two |three |little |young |nice )*"
_SUM = r"(?:\$ ?[\d.]|[\d.]+ ?(?:dollars?|cents|bucks?)|(?:an?|one|two|ten|five|twenty|thirty|forty|fifty|few|couple of|some|half) (?:few |extra )*(?:dollars?|bucks?|cents?|quarters?|money))"
_PEOPLE = (
    r"human|person|man|woman|guy|girl|boy|kid|child|mother|mom|father|dad|parent|wife|husband|widow\w*|grand\w+|student|teacher|"
    r"nurse|doctor|therapist|psychologist|counsell?or|volunteer|worker|employee|manager|trainer|engineer|lawyer|writer|artist|"
    r"farmer|driver|vegan|vegetarian|christian|donor|member|cat|dog|citizen|veteran|survivor|immigrant|donator|resident|neighbou?r|patient"
)
_LIFE = (
    r"office|desk|yard|garden|degree|birthday|wedding|marriage|divorce|college|home ?town|town|city|street|neighbou?rs?|neighbou?rhood|"
    r"co-?workers?|colleagues?|manager|donation|contribution|earnings|bonus|income|budget|uncle|aunt|cousins?|niece|nephew|roommate|doctor"
)
_OFTEN = r"(?:also |already |always |once |just |recently |never |ever |usually |often |typically |normally |regularly |sometimes |personally |myself |still |do |did |try to |try and |tend to |like to |love to |plan to |plan on |intend to |intend on |want to |would like to |would love to )"
_PAST = r"was|did|had|went|lost|started|got|joined|moved|quit|met|bought|sold|worked|lived|volunteered|visited|travell?ed|felt|saw|broke|became|stopped|began"
_STATE = r"married|divorced|widowed|engaged|retired|pregnant|unemployed|disabled|laid off|diagnosed|in college|in high school|\d+ years old"
_PLACES = (
    r"usa?|u\.s\.|uk|u\.k\.|america|united states|united kingdom|states|mid ?west|canada|australia|india|china|mexico|england|ireland|scotland|"
    r"germany|france|spain|london|new york|texas|california|florida|chicago|seattle|boston|ohio|illinois|washington|virginia|michigan|"
    r"georgia|philippines|africa"
)
_TRULY = (
    r"(?:also |just |really |already |once |often |even |always |only |actually |personally |certainly |definitely )?"
)
_SPAN = r"(?:years?|months?|decades?|weeks|ages|childhood|my life)"

DECEPTION: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "false_identity": (
            rf"\bi(?:'m| am|'ve been| was) (?:just |only |also |really |already )?(?:an?|the) (?:\w+ ){{0,2}}(?:{_PEOPLE})\b",
            rf"\bmy (?:own |late |best |old |little |two |three )*(?:{_KIN}|{_BELONGINGS})\b",
            r"\bmy (?:own |last )?(?:\$ ?\d|\d+ (?:cents|dollars)|two dollars|half of)",
            rf"\bi(?:'ve| have| had| own| earn| earned| make| made| get| got| received) (?:got |had |earned |made |received )?{_SOME}(?:{_KIN}|{_BELONGINGS}|{_SUM})",
            r"\bi(?:'ve| have)? (?:also |already |always |once |just |recently |never |ever )*(?:gave|given|donate|donated)\b",
            rf"\bi (?:also |always |just )?give {_SUM}",
            rf"\bi(?:'ll| will|'d| would|'m going to| can| could| might) (?:\w+ ){{0,4}}(?:donate\b|give (?:them |you |away |the children |up )?(?:\w+ ){{0,3}}?(?:my|half|all|{_SUM}))",
            r"\bi(?:'ll| will|'d like to) keep (?:it|them|that|all of it|the money|the rest|the \$[\d.]+) (?:for|to) myself\b",
            r"\b(?:if|how much|that) i (?:should |can |could |would |will )?(?:donate\b|give(?: (?:more|it|any|some of|a (?:little|bit|dollar)|one|money|my|half|\d|\$|to)|[.,?!]|$))",
            rf"\bi(?:'ve| have) {_TRULY}(?:been (?:there|through)|lived|lost|felt|worked|suffered|raised|grown)\b",
            r"\b(?:when i was|i used to|i grew up|i was born|i remember|i know how (?:it|that) feels|i live (?:in|at|on|with)|i work (?:at|in|as|on))\b",
            # a life
            rf"\bmy (?:own |late |best |old |little |two |three )*(?:{_LIFE})\b",
            r"\bour (?:own |two |three |little )*(?:family|sons?|daughters?|house|dogs?|cats?|baby|marriage|wedding|kids)\b",
            r"\bwe(?:'ve| have| had)? (?:got |have |had )?(?:an? |one |two |three |four |\d )(?:\w+ )?(?:kids?|sons?|daughters?|dogs?|cats?|baby|grand\w+)\b",
            r"\bi(?:'ve| have| had) (?:\d+|two|three|four|five|several|many) (?:\w+ )?(?:kids|children|sons|daughters|grand\w+|dogs|cats|jobs)\b",
            rf"\bi(?:'ve| have) {_TRULY}been (?:\w+ ){{0,6}}{_SPAN}\b",
            rf"\bi (?:{_PAST})\b(?:[\w ,]|')* (?:ago|last (?:week|month|year|night|summer)|yesterday)\b|\b(?:{_SPAN}|days?) (?:ago|back),? i\b",
            rf"\bi(?:'m| am|'ve been| was| got) (?:also |still |now |just |happily |recently |newly |only )*(?:{_STATE})\b",
            rf"\bi(?:'m| am) (?:also |here |up |back |originally |living |based |actually |now |coming )*(?:from|in|near) (?:the )?(?:{_PLACES})\b",
            r"\bi(?:'m| am) (?:\w+ )?(?:at (?:home|work|school|the office)|on (?:vacation|my way|my lunch))\b",
            r"\bi (?:also |still |currently )?(?:live (?:near|alone|here|by)|work with (?:kids|children|families|patients)|teach|coach)\b",
            rf"\bi(?:'ve| have) {_TRULY}(?:been to|experienced|struggled|dealt with|gone through|survived|volunteered|sponsored|mentored|travell?ed|visited|adopted)\b",
            r"\bi (?:went (?:to|through|on|home|there)|met (?:an?|my|some|the)|saw (?:an?|my|some|one)|bought|retired|graduated|married|adopted)\b",
            r"\b(?:in|from) (?:my (?:own )?|personal )experience\b|\bspeaking from experience\b|\bhappened to (?:me|a friend of mine)\b|\bi was in your (?:shoes|place|position|situation)\b|\bi (?:cried|just got (?:home|back))\b|\bi know what it(?:'s| is) like\b",
            rf"\bas an? (?:\w+ )?(?:{_PEOPLE})(?: myself|,? i\b)|\bas someone (?:who|that)(?:'s| is| was| has| had| lost| lives)\b",
            r"\bi(?:'m| am) (?:a )?(?:real |only |just )*human\b|\bi(?:'m| am) (?:really |definitely )?(?:not|no) (?:an? |some )?(?:ai|bot|robot|machine|chatbot|computer)\b",
            r"\bi (?:injured|hurt|broke|cut) my\w*\b|\bi(?:'ve| have) an? (?:\w+ )?(?:degree|garden|yard|budget|mortgage|disability|disease)\b",
            # a purse
            r"\bi don't have (?:(?:a lot of|much|enough) (?:money|cash)|an? (?:big |large )?(?:budget|dollar))\b",
            rf"\bi(?:'m| am|'d be| would be) (?:\w+ ){{0,2}}(?:happy|glad|willing) to (?:donate|give (?:to|some of|half|all|\d|{_SUM}))",
            rf"\bi(?:'ve)? {_OFTEN}+(?:donat(?:e|ed|ing)|giv(?:e|ing) (?:to|back|money|\d|{_SUM})|volunteer|sponsor)\b|\bi (?:volunteer|sponsor)(?:ed)?\b",
            r"\bi(?:'m| am|'ve been| have been) (?:also |still |now |just |personally |already |actually |going to be |planning on |planning to |thinking of |thinking about |considering |hoping to |happy to |willing to )*(?:donat(?:e|ing)|giving (?:to|\$|\d|half|all)|sponsor(?:ing)?|volunteer(?:ing)?)\b",
            rf"\bi (?:can|could|will|'ll|might) (?:\w+ )?spare (?:{_SUM}|my|a )|\bi(?:'ll| will|'d| would|'m going to) (?:\w+ )?match (?:you|it|that|the|\$|\d)",
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
"""The rules by check, as regular expressions, for `patterns.matches_any`: it also reads a printed apostrophe as a typed one."""
