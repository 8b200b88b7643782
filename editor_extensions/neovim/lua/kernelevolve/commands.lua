-- `:KernelEvolve …`: read its words, run the server's command, show the answer.

local client_of = require('kernelevolve.client')
local tree = require('kernelevolve.tree')
local windows = require('kernelevolve.windows')

local M = {}

local WARN, ERROR = vim.log.levels.WARN, vim.log.levels.ERROR

local function known(value)
  return value ~= nil and value ~= vim.NIL
end

-- `kind (40 %): summary`, and what to do below it.
local function bottleneck_lines(found)
  local share = known(found.share) and string.format(' (%.0f %%)', found.share * 100) or ''
  local lines = vim.split(found.summary or '', '\n', { plain = true })
  lines[1] = string.format('- %s%s: %s', tostring(found.kind), share, lines[1])
  if known(found.advice) and found.advice ~= '' then
    vim.list_extend(lines, vim.split(found.advice, '\n', { plain = true }))
  end
  for index = 2, #lines do
    lines[index] = '  ' .. lines[index]
  end
  return lines
end

-- What the user sees of each command's answer.
local shown = {}

shown['kernelevolve.verify'] = function(result)
  local good = result.status == 'correct' or result.status == 'compiles'
  local words = { result.status }
  if known(result.speedup) then
    table.insert(words, tree.speedup(result.speedup))
  end
  if known(result.message) and result.message ~= '' then
    table.insert(words, result.message)
  end
  client_of.say(table.concat(words, ': '), good and vim.log.levels.INFO or WARN)
end

shown['kernelevolve.profile'] = function(result)
  local lines = vim.split(result.summary or '', '\n', { plain = true })
  for _, bottleneck in ipairs(result.bottlenecks or {}) do
    vim.list_extend(lines, bottleneck_lines(bottleneck))
  end
  if known(result.report) then
    vim.list_extend(lines, { '', 'Report: ' .. result.report })
  end
  windows.show('kernelevolve://profile', lines, { filetype = 'markdown', focus = false })
end

shown['kernelevolve.optimize'] = function(result)
  client_of.say('search ' .. result.search .. ' runs. :KernelEvolve searches follows it.')
end

shown['kernelevolve.stop'] = function(result)
  client_of.say('search ' .. result.search .. ': ' .. result.state)
end

shown['kernelevolve.applyBest'] = function(result)
  if result.applied then
    client_of.say('the best kernel found is in place: ' .. tree.speedup(result.speedup))
  else
    client_of.say('the best kernel found was not put in place.', WARN)
  end
end

shown['kernelevolve.showKernel'] = function(result)
  local lines = vim.list_extend({ '# ' .. result.title, '' }, vim.split(result.text, '\n', { plain = true }))
  windows.show('kernelevolve://kernel', lines, { filetype = 'markdown', focus = false })
end

local function execute(client, command, argument)
  client_of.execute(client, command, argument, function(result)
    if shown[command] and type(result) == 'table' then
      shown[command](result)
    end
    client_of.refresh_lenses(client.id)
  end)
end

--- Run a command that a lens or a code action names.
---@param command lsp.Command
---@param context { client_id: integer }
function M.from_lens(command, context)
  local client = vim.lsp.get_client_by_id(context.client_id)
  if client then
    execute(client, command.command, (command.arguments or {})[1] or vim.empty_dict())
  end
end

--- Stop a search.
---@param id string
function M.stop(id)
  local client = client_of.need()
  if client then
    execute(client, 'kernelevolve.stop', { search = id })
  end
end

--- Put the best kernel found into a file.
---@param argument { uri: string, kernel?: string, search?: string }
function M.apply_best(argument)
  local client = client_of.need()
  if client then
    execute(client, 'kernelevolve.applyBest', argument)
  end
end

-- `[kernel] [name=number]…` as the argument of a command on this buffer; nil after saying what is wrong.
local function on_file(words, numbers)
  local argument = { uri = vim.uri_from_bufnr(0) }
  for _, word in ipairs(words) do
    local name, value = word:match('^(%w+)=(.*)$')
    if name and vim.list_contains(numbers, name) and (tonumber(value) or 0) > 0 then
      argument[name] = tonumber(value)
    elseif name or argument.kernel then
      local allowed = vim.tbl_map(function(number)
        return number .. '=N with N above 0'
      end, numbers)
      table.insert(allowed, 1, 'the name of a kernel')
      client_of.say(string.format('%q is not understood here. Give %s.', word, table.concat(allowed, ', ')), ERROR)
      return nil
    else
      argument.kernel = word
    end
  end
  return argument
end

local function server_command(command, numbers)
  return function(words)
    local argument = on_file(words, numbers or {})
    local client = argument and client_of.need()
    if argument and client then
      execute(client, command, argument)
    end
  end
end

local function one_id(verb, action)
  return function(words)
    if #words ~= 1 then
      client_of.say(string.format('say which search: :KernelEvolve %s ID. Tab completes ids.', verb), ERROR)
      return
    end
    action(words[1])
  end
end

local function status()
  local client = client_of.need()
  if not client then
    return
  end
  client_of.request(client, 'kernelevolve/status', vim.empty_dict(), function(result)
    windows.show('kernelevolve://status', M.status_lines(result), { focus = false })
  end)
end

--- The answer of `kernelevolve/status` as lines.
---@param result table
---@return string[]
function M.status_lines(result)
  local lines = {
    'kernelevolve ' .. tostring(result.version) .. ', state in ' .. tostring(result.state),
    'Triton: ' .. (known(result.triton) and tostring(result.triton) or 'not installed'),
    'Compiling: ' .. tostring(result.compiling),
    'Code of the workspace: ' .. (result.trusted and 'may be compiled and run' or 'is not compiled or run'),
  }
  for _, target in ipairs(result.targets or {}) do
    local state = target.compiles and 'compiles' or 'does not compile'
    local reason = known(target.reason) and (': ' .. tostring(target.reason)) or ''
    table.insert(lines, string.format('%s: %s%s', target.name, state, reason))
  end
  return lines
end

local function cancel()
  local titles = require('kernelevolve.progress').cancel()
  client_of.say(#titles > 0 and ('asked to give up: ' .. table.concat(titles, ', ')) or 'nothing runs that can be cancelled.')
end

local verbs = {
  optimize = server_command('kernelevolve.optimize', { 'evaluations', 'minutes' }),
  verify = server_command('kernelevolve.verify'),
  profile = server_command('kernelevolve.profile'),
  best = server_command('kernelevolve.applyBest'),
  searches = function()
    require('kernelevolve.searches').open()
  end,
  search = one_id('search', function(id)
    require('kernelevolve.searches').show(id)
  end),
  stop = one_id('stop', M.stop),
  status = status,
  cancel = cancel,
}

--- Run `:KernelEvolve word…`.
---@param words string[]
function M.run(words)
  local verb = verbs[words[1]]
  if not verb then
    local names = vim.tbl_keys(verbs)
    table.sort(names)
    client_of.say(string.format('there is no %q. Known are %s.', words[1], table.concat(names, ', ')), ERROR)
    return
  end
  verb(vim.list_slice(words, 2))
end

local function candidates(verb)
  if verb == 'stop' or verb == 'search' then
    return require('kernelevolve.searches').ids()
  end
  if not vim.list_contains({ 'optimize', 'verify', 'profile', 'best' }, verb) then
    return {}
  end
  local client = client_of.get()
  local names = client and client_of.kernels(client, vim.api.nvim_get_current_buf()) or {}
  return verb == 'optimize' and vim.list_extend(names, { 'evaluations=', 'minutes=' }) or names
end

--- What may stand at the end of a line.
---@param word string as far as it is typed
---@param line string the whole command line
---@return string[]
function M.complete(word, line)
  local before = vim.split(vim.trim(line:sub(1, #line - #word)), '%s+')
  local all = #before < 2 and vim.tbl_keys(verbs) or candidates(before[2])
  local fitting = vim.tbl_filter(function(name)
    return vim.startswith(name, word)
  end, all)
  table.sort(fitting)
  return fitting
end

return M
