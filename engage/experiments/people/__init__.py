"""Whether a trained policy leans towards what goes well between people: `engage experiment people`.

Nobody talks with the policy. On held-out dialogues of people, the log-ratio of the policy to its start says which human replies training
made more probable; `engage.experiments.people.association` says whether those replies went with a better outcome, given their prefix.
"""
