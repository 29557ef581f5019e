-- One row per challenge: a candidate against one incumbent, with one held-out simulator, on one set of held-out scenarios.
create table if not exists challenge (
    number integer primary key, -- place among all challenges in the order in which they began, from 1: it decides how much evidence is needed
    cycle_id varchar not null, -- of the evaluation that began it
    policy varchar not null, -- label of the candidate's dialogues
    adapter varchar, -- folder of the candidate's weights; null in challenges from before this table
    incumbent varchar not null, -- label of the incumbent's dialogues
    simulator varchar not null, -- label of the held-out simulator
    ground varchar, -- digest of scenarios, users and settings of the dialogues; null in challenges from before this table
    scenarios varchar[], -- ids of the held-out scenarios; null in challenges from before this table
    state varchar not null, -- open, passed (promoted by the next person), promoted, dropped, earlier (from before this table)
    reason varchar not null, -- why it is in that state, as the report said it
    passed boolean not null, -- whether the rule decided to promote it, which makes later promotions easier
    began_at timestamp, -- UTC; null in challenges from before this table
    changed_at timestamp -- when state and reason last changed, UTC; null in challenges from before this table
)
