-- Whether the values of two cycles in a domain may be used together, by their identities (cycle.config): prompts and survey, models, dialogue
-- settings and method are the same. The champion, the scenarios and the search may differ.
create or replace macro same_ground(one, other, of_domain) as
    (one -> 'prompts' -> of_domain) is not distinct from (other -> 'prompts' -> of_domain)
    and (one -> 'models') is not distinct from (other -> 'models')
    and (one -> 'dialogue') is not distinct from (other -> 'dialogue')
    and (one -> 'method_version') is not distinct from (other -> 'method_version')
