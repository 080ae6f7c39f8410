-- Adds to the counters of items of one shard; the layout is that of domain/activity.
--
-- KEYS  hash of counters; sorted set of trending scores
-- ARGV  items kept in the sorted set; then for each item: key (8 bytes), what to add (32 bytes)

local call = redis.call
local LOG2 = math.log(2)

local function log2_sum(first, second)
  local high, low = math.max(first, second), math.min(first, second)
  if low == -math.huge then
    return high
  end
  return high + math.log(1 + 2 ^ (low - high)) / LOG2
end

for at = 2, #ARGV, 2 do
  local key, added = ARGV[at], ARGV[at + 1]
  local views, purchases, trending, last = struct.unpack('<dddd', added)
  local stored = call('HGET', KEYS[1], key)
  if stored then
    local v, p, t, l = struct.unpack('<dddd', stored)
    views, purchases, trending = log2_sum(views, v), log2_sum(purchases, p), log2_sum(trending, t)
    last = math.max(last, l)
  end
  call('HSET', KEYS[1], key, struct.pack('<dddd', views, purchases, trending, last))
  if trending ~= -math.huge then
    call('ZADD', KEYS[2], string.format('%.17g', trending), key)
  end
end
call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[1]) - 1)
