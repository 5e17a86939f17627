-- Load: the requests of a benchmark, for wrk. All constant text is made before the start;
-- a request then costs one random number and one concatenation.
-- FLORIN_BENCH_LOAD names a Lua file that returns:
--   ports, host, path, kind, authorization, seed, tag, batch, codes

local load = dofile(os.getenv("FLORIN_BENCH_LOAD"))
local random, format = math.random, string.format
local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
  -- Threads are assigned to the instances in turn.
  local port = load.ports[(#threads - 1) % #load.ports + 1]
  thread.addr = wrk.lookup(load.host, tostring(port))[1]
  thread:set("number", #threads)
end

local heads, tails, codes, count, counter
ok, refused = 0, 0

-- 128 bits: random ones first, so that keys arrive in random order, as customers' keys do; the end
-- makes them unique even if the random parts are equal.
local function key()
  counter = counter + 1
  return format("%08x%08x%08x%08x", random(0, 4294967295), random(0, 4294967295),
    load.tag * 256 + number, counter)
end

function init(args)
  math.randomseed(load.seed * 1000003 + load.tag * 1009 + number)
  codes, count, counter = load.codes, #load.codes, 0
  heads = "POST " .. load.path .. " HTTP/1.1\r\nHost: florin\r\n"
  tails = {}
  local between = "\r\nAuthorization: " .. load.authorization
    .. "\r\nContent-Type: application/json\r\nContent-Length: "
  for i = 1, count do
    local body = '{"code":"' .. codes[i] .. '"}'
    if load.kind == "redeem" then
      body = '{"amount":1,"currency":"EUR","code":"' .. codes[i] .. '"}'
    end
    tails[i] = between .. #body .. "\r\n\r\n" .. body
  end
  if load.kind == "batch" then
    tails = between
  end
end

local function one()
  return heads .. "Idempotency-Key: " .. key() .. tails[random(count)]
end

local function lookup()
  -- Not a key, but a varying header: LuaJIT hashes a string by a few of its bytes only.
  return heads .. "X-Request-Id: " .. key() .. tails[random(count)]
end

local function batch()
  local items = {}
  for i = 1, load.batch do
    items[i] = '{"idempotency_key":"' .. key() .. '","amount":1,"currency":"EUR","code":"'
      .. codes[random(count)] .. '"}'
  end
  local body = '{"redemptions":[' .. table.concat(items, ",") .. "]}"
  return heads .. "X-Request-Id: " .. key() .. tails .. #body .. "\r\n\r\n" .. body
end

request = load.kind == "batch" and batch or load.kind == "lookup" and lookup or one

if load.kind == "batch" then
  -- A batch is answered 200 even if items are refused: items are counted one by one.
  function response(status, headers, body)
    for found in body:gmatch('{"status":(%d+)') do
      if found == "201" then ok = ok + 1 else refused = refused + 1 end
    end
  end
end

function done(summary, latency, requests)
  local items, refusals = 0, 0
  for _, thread in ipairs(threads) do
    items = items + thread:get("ok")
    refusals = refusals + thread:get("refused")
  end
  local e = summary.errors
  io.write(format(
    '\nFLORIN {"answers":%d,"seconds":%.6f,"status":%d,"socket":%d,"ok":%d,"refused":%d,'
    .. '"p50_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    items, refusals, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
