;; Loops as tight as they get, for benchmarks: what a compiler makes of C, without calls.
(module
  (memory 20)
  (func (export "hash") (param $n i32) (result i32) (local $h i32)
    (local.set $h (i32.const 17))
    (loop $l
      (local.set $h (i32.mul (i32.xor (local.get $h) (local.get $n)) (i32.const 16777619)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $h))
  (func (export "find") (param $n i32) (result i32) (local $p i32)
    (block $done
      (loop $l
        (br_if $done (i32.eq (local.get $p) (local.get $n)))
        (br_if $done (i32.load8_u (local.get $p)))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (br $l)))
    (local.get $p))
  (func (export "sum") (param $n i32) (result i32) (local $s i32) (local $p i32)
    (loop $l
      (local.set $s (i32.add (local.get $s)
        (i32.add (i32.add (i32.load (local.get $p)) (i32.load offset=4 (local.get $p)))
                 (i32.add (i32.load offset=8 (local.get $p)) (i32.load offset=12 (local.get $p))))))
      (br_if $l (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 16))) (local.get $n))))
    (local.get $s))
  (func $fib (export "fib") (param $n i32) (result i32)
    (if (result i32) (i32.lt_s (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else (i32.add (call $fib (i32.sub (local.get $n) (i32.const 1))) (call $fib (i32.sub (local.get $n) (i32.const 2))))))))
