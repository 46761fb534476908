from hypercontainer.lazy.serve import main

main()
