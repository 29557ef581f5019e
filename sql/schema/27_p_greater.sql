-- P(value a > value b) of two sibling replies, each a row or struct with the figures of reply_value.
create or replace macro p_greater(a, b) as
    normal_cdf(
        (a.value_mean - b.value_mean)
        / sqrt(a.value_variance + b.value_variance - 2 * a.shared_error * b.shared_error)
    )
