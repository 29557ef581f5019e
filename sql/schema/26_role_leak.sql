-- Whether a reply begins with a speaker's label or holds a chat template's own tokens; the labels are those of engage/flaws.py.
create or replace macro role_leak(reply) as
    regexp_matches(
        reply,
        '^[^\pL]*(user|assistant|system|supporter|seeker|persuader|persuadee|helper|human|ai|bot)[^\pL]{0,4}:|<\|im_|\[/?inst\]',
        'i'
    )
