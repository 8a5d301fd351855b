-- One row per airport that was flown to.
SELECT
  dest,
  any_value(destination) AS destination,
  count(*) AS flights,
  avg(arr_delay) AS mean_arrival_delay,
  avg(distance) AS miles
FROM departures
GROUP BY dest
ORDER BY flights DESC, dest
