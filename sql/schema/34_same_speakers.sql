-- Whether two cycles' settings (cycle.settings) name the same models and adapters for the same sides: cycle.config has their fingerprints, but
-- does not say which of them plays the user. True where a cycle has no settings, as in those of an older version.
create or replace macro same_speakers(one, other) as
    one is null
    or other is null
    or (
        (one -> 'engine' ->> 'policy_model') is not distinct from (other -> 'engine' ->> 'policy_model')
        and (one -> 'engine' ->> 'policy_adapter') is not distinct from (other -> 'engine' ->> 'policy_adapter')
        and (one -> 'engine' ->> 'simulator_model') is not distinct from (other -> 'engine' ->> 'simulator_model')
        and (one -> 'engine' ->> 'simulator_adapter') is not distinct from (other -> 'engine' ->> 'simulator_adapter')
        and list_sort(coalesce((one -> 'engine' -> 'simulators')::varchar[], []))
        = list_sort(coalesce((other -> 'engine' -> 'simulators')::varchar[], []))
    )
