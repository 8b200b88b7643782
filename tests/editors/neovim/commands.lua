-- `:KernelEvolve`: completion, commands with progress and cancel, what the user sees of answers and errors.
local t = dofile(vim.env.TEST_FOLDER .. '/driver.lua')

local steps = {}
vim.api.nvim_create_autocmd('LspProgress', {
  callback = function(event)
    table.insert(steps, event.data.params.value.kind)
  end,
})

local buffer, client = t.open('triton.py')

t.equal(vim.fn.getcompletion('KernelEvolve s', 'cmdline'), { 'search', 'searches', 'status', 'stop' }, 'verbs')
t.equal(vim.fn.getcompletion('KernelEvolve verify ', 'cmdline'), { 'scale' }, 'kernels')
t.equal(
  vim.fn.getcompletion('KernelEvolve optimize scale ev', 'cmdline'),
  { 'evaluations=' },
  'options'
)

vim.cmd('KernelEvolve verify scale')
t.equal(t.message('1.80x').level, vim.log.levels.INFO, 'level of a good verdict')
t.equal(steps[1], 'begin', 'first step')
t.equal(steps[#steps], 'end', 'last step')
t.equal(#steps >= 3, true, 'reports between them')

vim.cmd('KernelEvolve verify refused')
local refusal = t.message('Name one: `# kernelevolve: task PATH`')
t.equal(refusal.level, vim.log.levels.ERROR, 'level of a refusal')

vim.cmd('KernelEvolve verify endless')
t.wait('work that can be cancelled', function()
  return #require('kernelevolve.progress').running() == 1
end)
vim.cmd('KernelEvolve cancel')
t.message('asked to give up: Verify')
t.wait('the end of that work', function()
  return #require('kernelevolve.progress').running() == 0
end)
vim.cmd('KernelEvolve cancel')
t.message('nothing runs')

vim.cmd('KernelEvolve optimize scale lots=3')
t.message('"lots=3" is not understood')
vim.cmd('KernelEvolve optimize evaluations=0')
t.message('evaluations=N with N above 0')
vim.cmd('KernelEvolve frobnicate')
t.message('Known are best, cancel')
vim.cmd('KernelEvolve stop')
t.message('say which search')
vim.cmd('KernelEvolve stop s99')
t.message("There is no search 's99'")

vim.cmd('KernelEvolve profile')
local windows = require('kernelevolve.windows')
local profile = t.wait('the profile', function()
  return windows.find('kernelevolve://profile')
end)
t.holds(t.text(profile), '- uncoalesced access (40 %): Rows apart.\n  Swap the loops.', 'profile')
t.equal(vim.api.nvim_get_current_buf(), buffer, 'the profile takes no focus')

vim.cmd('KernelEvolve status')
local status = t.wait('the status', function()
  return windows.find('kernelevolve://status')
end)
t.holds(t.text(status), 'hip:gfx950: does not compile: no lld', 'status')

-- A lens on the line runs the same command.
local choose = vim.ui.select
vim.ui.select = function(options, _, on_choice)
  on_choice(vim.iter(options):find(function(option)
    return option.lens.command.title == 'Verify'
  end))
end
t.said = {}
t.wait('lenses', function()
  return #vim.lsp.codelens.get(buffer) == 3 and vim.lsp.codelens.get(buffer)[2].command
end)
vim.api.nvim_win_set_cursor(0, { 6, 0 })
vim.lsp.codelens.run()
t.message('correct: 1.80x')
vim.ui.select = choose

vim.cmd('KernelEvolve best')
t.message('the best kernel found is in place: 1.80x')
t.equal(t.text(buffer), '# receipt r2\npass', 'the buffer')
vim.cmd('undo')
t.holds(t.text(buffer), 'def scale', 'the buffer after undo')

t.close(client)
vim.cmd('KernelEvolve verify')
t.message('the language server does not run')
