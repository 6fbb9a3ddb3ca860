;; Exports no sluice_process, but a command's _start.
(module (memory (export "memory") 1) (func (export "sluice_abi_v1")) (func (export "_start")))
