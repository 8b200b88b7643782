-- Work of the server that runs now, so that it can be cancelled.

local M = {}

---@class kernelevolve.Work
---@field client_id integer
---@field title string
---@field message string
---@field cancellable boolean

local running = {} ---@type table<string, kernelevolve.Work>

local function key(client_id, token)
  return client_id .. ':' .. tostring(token)
end

--- A step of some work, as the event LspProgress carries it.
---@param data { client_id: integer, params: { token: string|integer, value: table } }
function M.moved(data)
  local client = vim.lsp.get_client_by_id(data.client_id)
  if not client or client.name ~= 'kernelevolve' then
    return
  end
  local value = data.params.value
  local name = key(data.client_id, data.params.token)
  if value.kind == 'end' then
    running[name] = nil
    return
  end
  local work = running[name]
    or { client_id = data.client_id, token = data.params.token, title = '', message = '', cancellable = false }
  work.title = value.title or work.title
  work.message = value.message or work.message
  if value.cancellable ~= nil then
    work.cancellable = value.cancellable
  end
  running[name] = work
end

--- What runs now.
---@return kernelevolve.Work[]
function M.running()
  local alive = {}
  for name, work in pairs(running) do
    if vim.lsp.get_client_by_id(work.client_id) then
      table.insert(alive, work)
    else
      running[name] = nil -- a server that died says no end
    end
  end
  return alive
end

--- Ask the server to give up what runs now.
---@return string[] titles of what was asked for
function M.cancel()
  local titles = {}
  for _, work in ipairs(M.running()) do
    local client = vim.lsp.get_client_by_id(work.client_id)
    if client and work.cancellable then
      client:notify('window/workDoneProgress/cancel', { token = work.token })
      table.insert(titles, work.title)
    end
  end
  return titles
end

return M
