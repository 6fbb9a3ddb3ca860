;; Imports a function with another type.
(module (import "sluice:batch/1" "write" (func (param i64 i32) (result i32)))  (memory (export "memory") 1) (func (export "sluice_abi_v1")) (func (export "sluice_process") (param i32 i32) (result i32) (i32.const 0)))
