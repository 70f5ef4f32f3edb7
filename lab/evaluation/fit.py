"""Least-squares polynomials, as the paper's figure has them."""


def solve(matrix, vector):
    """Gaussian elimination with pivoting; both arguments are used up."""
    n = len(vector)
    for i in range(n):
        pivot = max(range(i, n), key=lambda row: abs(matrix[row][i]))
        if abs(matrix[pivot][i]) < 1e-12:
            raise ValueError('too few points for this degree')
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        vector[i], vector[pivot] = vector[pivot], vector[i]
        for row in range(i + 1, n):
            factor = matrix[row][i] / matrix[i][i]
            vector[row] -= factor * vector[i]
            for column in range(i, n):
                matrix[row][column] -= factor * matrix[i][column]
    for i in reversed(range(n)):
        vector[i] -= sum(matrix[i][column] * vector[column] for column in range(i + 1, n))
        vector[i] /= matrix[i][i]
    return vector


def chebyshev(degree, x):
    """T_0(x) to T_degree(x): with these, unlike with powers of x, nothing is lost to rounding."""
    values = [1.0, x]
    while len(values) <= degree:
        values.append(2 * x * values[-1] - values[-2])
    return values[:degree + 1]


def polynomial(points, degree=6):
    """The polynomial of that degree closest to the points [(x, y)], as a function."""
    low, high = min(x for x, _ in points), max(x for x, _ in points)

    def basis(x):
        return chebyshev(degree, (2 * x - low - high) / (high - low) if high > low else 0.0)

    rows = [basis(x) for x, _ in points]
    size = degree + 1
    normal = [[sum(row[i] * row[j] for row in rows) for j in range(size)] for i in range(size)]
    right = [sum(row[i] * y for row, (_, y) in zip(rows, points)) for i in range(size)]
    factors = solve(normal, right)
    return lambda x: sum(factor * value for factor, value in zip(factors, basis(x)))
