-- The window of searches, and a window for one search's tree. Both follow the state folder while they are open.

local client_of = require('kernelevolve.client')
local tree = require('kernelevolve.tree')
local windows = require('kernelevolve.windows')

local M = {}

local LIST = 'kernelevolve://searches'
local TREE = 'kernelevolve://search/'
local HELP = 'Enter: tree · a: apply best · s: stop · R: refresh · q: close'

local known = {} ---@type table[] the searches of the list, in its order
local asking = {} ---@type table<string, table> what to ask next, by the window whose text is on its way

local function row(search)
  return string.format(
    '%-10s %-9s %5s/%-5s %8s  %-14s %s',
    search.id,
    search.state,
    tostring(search.evaluations),
    tostring(search.budget),
    tree.speedup(search.best_speedup),
    tostring(search.platform),
    tostring(search.task)
  )
end

--- The list as lines; the searches begin on the third.
---@param searches table[]
---@return string[]
function M.lines(searches)
  local lines = { HELP, '' }
  for _, search in ipairs(searches) do
    table.insert(lines, row(search))
  end
  if #searches == 0 then
    table.insert(lines, 'No searches yet. :KernelEvolve optimize starts one.')
  end
  return lines
end

-- Many notifications may come while one answer is on its way: ask once more afterwards, not once for each.
local function ask(name, method, params, on_result)
  if asking[name] then
    asking[name].next = { name, method, params, on_result }
    return
  end
  local client = client_of.need()
  if not client then
    return
  end
  asking[name] = {}
  local function done()
    local next_one = asking[name].next
    asking[name] = nil
    if next_one then
      ask(unpack(next_one))
    end
  end
  client_of.request(client, method, params, function(result)
    on_result(result or {})
    done()
  end, function()
    asking[name] = nil
  end)
end

--- The search on the line of the cursor.
---@return table|nil
function M.under_cursor()
  return known[vim.api.nvim_win_get_cursor(0)[1] - 2]
end

local function on_search(action)
  return function()
    local search = M.under_cursor()
    if search then
      action(search)
    end
  end
end

local function set_keys(buffer)
  local function map(key, action, what)
    vim.keymap.set('n', key, action, { buffer = buffer, desc = what })
  end
  map('<CR>', on_search(function(search)
    M.show(search.id)
  end), 'Show the tree of this search')
  map('a', on_search(M.apply_best), 'Put the best kernel of this search into its file')
  map('s', on_search(function(search)
    require('kernelevolve.commands').stop(search.id)
  end), 'Stop this search')
  map('R', M.open, 'Ask again')
end

--- Open the list, or bring it up to date.
function M.open()
  ask(LIST, 'kernelevolve/searches', vim.empty_dict(), function(result)
    known = result.searches or {}
    set_keys(windows.show(LIST, M.lines(known)))
  end)
end

--- Show one search's tree.
---@param id string
function M.show(id)
  ask(TREE .. id, 'kernelevolve/search', { search = id }, function(result)
    windows.show(TREE .. id, tree.document(result))
  end)
end

--- Put the best kernel of a search into the file that the search began from.
---@param search table
function M.apply_best(search)
  if search.kernel_uri == nil or search.kernel_uri == vim.NIL then
    client_of.say(
      'search ' .. search.id .. ' did not begin from a file; open one and say :KernelEvolve best.',
      vim.log.levels.WARN
    )
    return
  end
  require('kernelevolve.commands').apply_best({ uri = search.kernel_uri, search = search.id })
end

--- Bring open windows up to date: something in the state folder moved.
---@param params { searches?: string[] }
function M.changed(params)
  if windows.find(LIST) then
    ask(LIST, 'kernelevolve/searches', vim.empty_dict(), function(result)
      known = result.searches or {}
      local buffer = windows.find(LIST)
      if buffer then
        windows.fill(buffer, M.lines(known))
      end
    end)
  end
  for _, id in ipairs(params.searches or {}) do
    if windows.find(TREE .. id) then
      ask(TREE .. id, 'kernelevolve/search', { search = id }, function(result)
        local buffer = windows.find(TREE .. id)
        if buffer then
          windows.fill(buffer, tree.document(result))
        end
      end)
    end
  end
  vim.api.nvim_exec_autocmds('User', { pattern = 'KernelEvolveSearches', data = params })
end

--- Ids of all searches, for completion; empty where the server does not answer within a second.
---@return string[]
function M.ids()
  local client = client_of.get()
  local answer = client and client:request_sync('kernelevolve/searches', vim.empty_dict(), 1000)
  return vim.tbl_map(function(search)
    return search.id
  end, answer and answer.result and answer.result.searches or {})
end

return M
