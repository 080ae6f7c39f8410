-- Records events of one user, all or none; the layout is that of domain/user_record and domain/seen.
--
-- KEYS  history; event ids of the last bucket; of this one; then filter, exact keys for each slot
-- ARGV  events kept; ms the user is kept; ms event ids are kept; number of slots;
--       for each slot: ms Unix time it ends (0: with the user), exact keys allowed, blocks of the first
--       layer, number of layers, bits a key in each layer;
--       for each event: id (8 bytes), entry (17 bytes), kind, slot (0: none), high half of the
--       item's hash, the eight bits that the item sets, one byte for each word
-- Returns a string of 0 and 1: which events were new.

local call, byte, sub, floor = redis.call, string.byte, string.sub, math.floor
local ENTRY, HEADER = 17, 40

local at = 0
local function next_argument()
  at = at + 1
  return ARGV[at]
end

local most = tonumber(next_argument())
local user_ttl, ids_ttl = next_argument(), next_argument()
local slots = {}
for number = 1, tonumber(next_argument()) do
  local slot = { filter = KEYS[2 + 2 * number], exact = KEYS[3 + 2 * number], bits = {} }
  slot.ends = next_argument()
  slot.allowed = tonumber(next_argument())
  slot.first = tonumber(next_argument())
  slot.layers = tonumber(next_argument())
  for layer = 1, slot.layers do
    slot.bits[layer] = tonumber(next_argument())
  end
  slots[number] = slot
end

-- the block with the item's bits set, or nil where all of them were
local function with_bits(block, bits)
  local bytes, changed = { byte(block, 1, 32) }, false
  for word = 0, 7 do
    local place = byte(bits, word + 1)
    local index, mask = 4 * word + floor(place / 8) + 1, 2 ^ (place % 8)
    if bit.band(bytes[index], mask) == 0 then
      bytes[index], changed = bytes[index] + mask, true
    end
  end
  if changed then
    return string.char(unpack(bytes))
  end
end

local function insert(slot, high, bits)
  local key, size = slot.filter, call('STRLEN', slot.filter)
  local count, first = 0, slot.first
  if size == 0 then
    size = 32 + 32 * first
    call('SETRANGE', key, size - 1, '\0')
    slot.is_new = true
  else
    count, first = struct.unpack('<I4I4', call('GETRANGE', key, 0, 7))
  end
  local start, blocks, layer, room = 32, first, 1, 0
  local place, block
  while true do
    place = start + 32 * floor(high * blocks / 4294967296)
    block = with_bits(call('GETRANGE', key, place, place + 31), bits)
    if not block then
      return
    end
    start = start + 32 * blocks
    room = room + floor(blocks * 256 / slot.bits[layer])
    if start >= size then
      break
    end
    blocks, layer = blocks * 2, layer + 1
  end
  if count >= room and layer < slot.layers then
    blocks = blocks * 2
    place = start + 32 * floor(high * blocks / 4294967296)
    block = with_bits(string.rep('\0', 32), bits)
    call('SETRANGE', key, start + 32 * blocks - 1, '\0')
  end
  call('SETRANGE', key, place, block)
  call('SETRANGE', key, 0, struct.pack('<I4I4', count + 1, first))
end

local function holds(keys, key)
  local from = 1
  while true do
    local found = string.find(keys, key, from, true)
    if not found or found % 8 == 1 then
      return found
    end
    from = found + 1
  end
end

local function remember(slot, item, high, bits)
  if slot.allowed > 0 then
    local keys = call('GET', slot.exact) or ''
    if holds(keys, item) then
      return
    end
    if #keys < 8 * slot.allowed then
      call('APPEND', slot.exact, item)
      slot.is_new = slot.is_new or keys == ''
      return
    end
  end
  insert(slot, high, bits)
end

-- put an entry in its place by time; what is beyond `most` goes when a quarter more has gathered
local function add(entry)
  local history, time = KEYS[1], struct.unpack('<d', entry, 9)
  local size = call('STRLEN', history)
  local last = call('GETRANGE', history, -ENTRY, -1)
  if size <= HEADER or struct.unpack('<d', last, 9) <= time then
    size = call('APPEND', history, entry)
  else
    local all = call('GET', history)
    local place = #all
    while place > HEADER and struct.unpack('<d', all, place - ENTRY + 9) > time do
      place = place - ENTRY
    end
    call('SET', history, sub(all, 1, place) .. entry .. sub(all, place + 1))
    size = size + ENTRY
  end
  if size > HEADER + ENTRY * most * 1.25 then
    local head = call('GETRANGE', history, 0, HEADER - 1)
    call('SET', history, head .. call('GETRANGE', history, -ENTRY * most, -1))
  end
end

local new, counts = {}, {}
while at < #ARGV do
  local id, entry, kind = next_argument(), next_argument(), tonumber(next_argument())
  local slot, high, bits = slots[tonumber(next_argument())], tonumber(next_argument()), next_argument()
  if call('SISMEMBER', KEYS[2], id) == 1 or call('SADD', KEYS[3], id) == 0 then
    new[#new + 1] = '0'
  else
    new[#new + 1] = '1'
    if call('STRLEN', KEYS[1]) == 0 then
      call('SETRANGE', KEYS[1], HEADER - 1, '\0')
    end
    add(entry)
    counts[kind] = (counts[kind] or 0) + 1
    if slot then
      remember(slot, sub(entry, 1, 8), high, bits)
    end
  end
end
if next(counts) then
  for kind, count in pairs(counts) do
    local before = struct.unpack('<I4', call('GETRANGE', KEYS[1], 4 * kind, 4 * kind + 3))
    call('SETRANGE', KEYS[1], 4 * kind, struct.pack('<I4', before + count))
  end
  call('PEXPIRE', KEYS[1], user_ttl)
  call('PEXPIRE', KEYS[3], ids_ttl)
  for _, slot in ipairs(slots) do
    for _, key in ipairs({ slot.filter, slot.exact }) do
      if slot.ends == '0' then
        call('PEXPIRE', key, user_ttl)
      elseif slot.is_new then
        call('PEXPIREAT', key, slot.ends)
      end
    end
  end
end
return table.concat(new)
