-- The real server: a verdict with progress, a profile that is given up, a search whose best kernel is put in place,
-- a task that is made.
local t = dofile(vim.env.TEST_FOLDER .. '/driver.lua')
local windows = require('kernelevolve.windows')

local kinds = {}
vim.api.nvim_create_autocmd('LspProgress', {
  callback = function(event)
    table.insert(kinds, event.data.params.value.kind)
  end,
})

local buffer, client = t.open('kernel.cpp', { targets = { 'cuda:sm_90' } })

vim.cmd('KernelEvolve verify')
t.message('correct')
t.equal(kinds[1], 'begin', 'first step')
t.equal(kinds[#kinds], 'end', 'last step')

vim.cmd('KernelEvolve profile')
t.wait('work that can be cancelled', function()
  return #require('kernelevolve.progress').running() == 1
end)
vim.cmd('KernelEvolve cancel')
t.message('asked to give up: Profile')
t.wait('the end of that work', function()
  return #require('kernelevolve.progress').running() == 0
end)

vim.cmd('KernelEvolve searches')
local list = t.wait('the list', function()
  return windows.find('kernelevolve://searches')
end)
vim.cmd.wincmd('p')
t.equal(vim.api.nvim_get_current_buf(), buffer, 'the buffer')
vim.cmd('KernelEvolve optimize evaluations=2 minutes=1')
t.message('runs. :KernelEvolve searches follows it')
t.wait('the finished search in the list, without asking', function()
  return t.text(list):find('finished', 1, true)
end, 150000)
local id = vim.fn.getcompletion('KernelEvolve search ', 'cmdline')[1]
vim.cmd('KernelEvolve search ' .. id)
local tree = t.wait('the tree', function()
  return windows.find('kernelevolve://search/' .. id)
end)
t.holds(t.text(tree), 'Search ' .. id, 'tree')

vim.api.nvim_set_current_win(vim.fn.win_findbuf(buffer)[1])
vim.cmd('edit plain.py')
local plain = vim.api.nvim_get_current_buf()
t.wait('the server for the new file', function()
  return client.attached_buffers[plain]
end)
client:exec_cmd(
  { title = '', command = 'kernelevolve.makeTask', arguments = { { uri = vim.uri_from_bufnr(0), ['function'] = 'double' } } },
  { bufnr = plain }
)
t.wait('the new task', function()
  for _, other in ipairs(vim.api.nvim_list_bufs()) do
    if t.text(other):find('def reference', 1, true) then
      return true
    end
  end
end)
t.close(client)
