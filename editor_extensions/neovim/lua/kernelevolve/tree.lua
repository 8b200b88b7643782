-- A search as lines of text. Pure: from values to values.

local M = {}

local DEEPEST_INDENT = 30 -- deeper nodes are drawn at this depth: lines must stay readable

local function known(value)
  return value ~= nil and value ~= vim.NIL
end

--- "1.80x", or "–" where nothing is known.
---@param speedup number|nil
---@return string
function M.speedup(speedup)
  return known(speedup) and string.format('%.2fx', speedup) or '–'
end

local function node_line(node, best)
  local parts = { '#' .. tostring(node.id), tostring(node.status) }
  if known(node.speedup) then
    table.insert(parts, M.speedup(node.speedup))
  end
  if known(best) and known(best.node) and tostring(best.node) == tostring(node.id) then
    table.insert(parts, '★ best')
  end
  if #(node.parents or {}) > 1 then
    local others = vim.tbl_map(function(id)
      return '#' .. tostring(id)
    end, vim.list_slice(node.parents, 2))
    table.insert(parts, 'also from ' .. table.concat(others, ', '))
  end
  if known(node.note) and node.note ~= '' then
    table.insert(parts, (tostring(node.note):gsub('%s+', ' ')))
  end
  return table.concat(parts, '  ')
end

-- Children by the id of their first parent that is there; those without one are roots.
local function families(nodes)
  local here, children, roots = {}, {}, {}
  for _, node in ipairs(nodes) do
    here[tostring(node.id)] = true
  end
  for _, node in ipairs(nodes) do
    local parent = nil
    for _, id in ipairs(node.parents or {}) do
      parent = parent or (here[tostring(id)] and tostring(id)) or nil
    end
    if parent then
      children[parent] = children[parent] or {}
      table.insert(children[parent], node)
    else
      table.insert(roots, node)
    end
  end
  return roots, children
end

--- The nodes as an indented tree, each exactly once, whatever their parents say.
---@param nodes table[] `{id, parents, status, speedup, generation, note}`
---@param best table|nil `{node}`
---@return string[]
function M.lines(nodes, best)
  local roots, children = families(nodes)
  local lines, drawn = {}, {}
  local function draw(root)
    local waiting = { { root, 0 } }
    while #waiting > 0 do
      local node, depth = unpack(table.remove(waiting))
      if not drawn[tostring(node.id)] then
        drawn[tostring(node.id)] = true
        table.insert(lines, string.rep('  ', math.min(depth, DEEPEST_INDENT)) .. node_line(node, best))
        local below = children[tostring(node.id)] or {}
        for index = #below, 1, -1 do
          table.insert(waiting, { below[index], depth + 1 })
        end
      end
    end
  end
  for _, root in ipairs(roots) do
    draw(root)
  end
  for _, node in ipairs(nodes) do
    draw(node) -- what a circle of parents keeps from the roots
  end
  return lines
end

--- All of one search.
---@param search table answer of `kernelevolve/search`
---@return string[]
function M.document(search)
  local best = known(search.best) and search.best or nil
  local lines = {
    string.format(
      'Search %s  %s  %s/%s candidates  best %s',
      search.id,
      search.state,
      tostring(search.evaluations),
      tostring(search.budget),
      M.speedup(search.best_speedup)
    ),
  }
  for _, field in ipairs({ 'task', 'platform', 'report', 'dashboard' }) do
    if known(search[field]) then
      table.insert(lines, field .. ': ' .. tostring(search[field]))
    end
  end
  table.insert(lines, '')
  vim.list_extend(lines, M.lines(search.nodes or {}, best))
  if best and known(best.source) then
    vim.list_extend(lines, { '', 'Best kernel:', '' })
    vim.list_extend(lines, vim.split(best.source, '\n', { plain = true }))
  end
  return lines
end

return M
