-- P(Z <= z) for a standard normal Z; |error| < 7.5e-8.
create or replace macro normal_cdf(z) as
    case
        when z < 0 then normal_tail(z::double, 1 / (1 - 0.2316419 * z::double))
        else 1 - normal_tail(z::double, 1 / (1 + 0.2316419 * z::double))
    end
