-- Whether a reply begins with a speaker's label or holds a chat template's own tokens.
create or replace macro role_leak(reply) as
    regexp_matches(reply, '^[^\pL]*(user|assistant|system|supporter|seeker|persuader|persuadee|human|ai)\s*:|<\|im_', 'i')
