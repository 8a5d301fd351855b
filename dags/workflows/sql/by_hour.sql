-- One row per airport and hour of New York's clock.
SELECT
  origin,
  hour,
  count(*) AS flights,
  avg(dep_delay) AS mean_delay,
  avg(wind_speed) AS wind_speed
FROM departures
GROUP BY origin, hour
ORDER BY origin, hour
