# Completion of sudbox for fish. sudbox prints the candidates.
complete --command sudbox --keep-order --no-files --arguments "(SUDBOX_COMPLETE=fish sudbox -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor))"
