-- The command `:KernelEvolve`, and hints and lenses in every buffer that the server serves.

if vim.g.loaded_kernelevolve then
  return
end
vim.g.loaded_kernelevolve = true

if vim.fn.has('nvim-0.11') == 0 then
  vim.notify('kernelevolve needs Neovim 0.11 or newer; docs/editors.md says what works on older ones.', vim.log.levels.WARN)
  return
end

vim.api.nvim_create_user_command('KernelEvolve', function(call)
  require('kernelevolve.commands').run(call.fargs)
end, {
  nargs = '+',
  desc = 'Judge, profile and search accelerator kernels',
  complete = function(word, line)
    return require('kernelevolve.commands').complete(word, line)
  end,
})

local group = vim.api.nvim_create_augroup('kernelevolve', {})

vim.api.nvim_create_autocmd('LspAttach', {
  group = group,
  callback = function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if client and client.name == 'kernelevolve' then
      require('kernelevolve.client').attached(client, event.buf, group)
    end
  end,
})

vim.api.nvim_create_autocmd('LspProgress', {
  group = group,
  callback = function(event)
    require('kernelevolve.progress').moved(event.data)
  end,
})
