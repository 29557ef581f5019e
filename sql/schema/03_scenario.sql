-- One row per scenario, over all cycles, whether searched or not.
create table if not exists scenario (
    scenario_id varchar primary key, -- the conversation to have, as its file names it
    content_hash varchar not null, -- SHA-256 of domain, user condition and opening
    domain varchar not null, -- kind of conversation: a shipped one or package.module:OBJECT
    split varchar not null, -- train, validation or test, by a hash of the content; only train gives pairs
    user_condition json not null, -- who the simulated user is: person, situation and the domain's own fields
    opening json not null, -- the turns before anybody is simulated, a list of {role, text}
    source varchar not null, -- corpus or author it comes from
    difficulty varchar, -- manner of talking; null where the source does not say
    attitude varchar -- what the user expects; null where the domain or the source has none
)
