-- P(Z > |z|) for a standard normal Z, with t = 1 / (1 + 0.2316419 |z|): Abramowitz & Stegun 26.2.17, |error| < 7.5e-8.
create or replace macro normal_tail(z, t) as
    exp(-z * z / 2) / sqrt(2 * pi())
    * t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429e0))))
