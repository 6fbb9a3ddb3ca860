;; Imports a function that does not exist.
(module (import "sluice:batch/1" "seek" (func))  (memory (export "memory") 1) (func (export "sluice_abi_v1")) (func (export "sluice_process") (param i32 i32) (result i32) (i32.const 0)))
